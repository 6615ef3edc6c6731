package bench

import (
	"time"

	"hubstream/transports/hubprotocol"
)

// Ledger is a ledger of a client that hears the given streams.
type Ledger struct{ l *ledger }

func NewLedger(streams ...int) Ledger { return Ledger{newLedger(streams)} }

func (l Ledger) Begin(issued uint32) { l.l.begin(func(int) uint32 { return issued }) }
func (l Ledger) Unbound()            { l.l.unbound() }

// Excused is the number of a send of unknown outcome.
const Excused = 9

func isExcused(m numbered) bool { return m.number == Excused }

func (l Ledger) Take(stream int, numbers ...uint32) {
	l.l.mu.Lock()
	defer l.l.mu.Unlock()
	for _, n := range numbers {
		l.l.take(stream, n, isExcused)
	}
}

// Faults are what was found when so many messages of each stream were accepted.
func (l Ledger) Faults(accepted uint32) (lost, repeated, reordered, strays int64) {
	lost = l.l.lost(func(int) uint32 { return accepted }, isExcused)
	return lost, l.l.repeated, l.l.reordered, l.l.strays
}

// Heard lists, by client, who sends what: the audiences of what each client hears, and from how many streams.
func Heard(o Options) (audiences [][]string, streams []int, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	p := newPlan("h", &o)
	for client, targets := range p.hears() {
		var list []string
		for _, t := range targets {
			list = append(list, p.hub(t)+p.audience(t)+" as "+p.user(client))
		}
		audiences = append(audiences, list)
		streams = append(streams, len(p.streamsOf(targets)))
	}
	return audiences, streams, nil
}

// Stamped writes a stamp, and reads it.
func Stamped(run, stream int, number uint32, at time.Duration, size int) (text string, same bool) {
	s := stamp{run, stream, number, at}
	b := s.appendArguments(nil, size)
	got, err := readStamp(b, hubprotocol.JSON)
	return string(b), err == nil && got == s
}

// TimesOf sums up what a histogram was given.
func TimesOf(list ...time.Duration) Times {
	var h histogram
	for i, d := range list {
		h.add(i, d)
	}
	return h.times()
}

package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

// plan says who hears what. Client i is in hub i mod Hubs; within its hub it has a rank. A target is what one message can be sent to:
// a hub, a group or a user. Target t is of hub t mod Hubs.
type plan struct {
	o    *Options
	name string // of the hub, or what hubs' names begin with

	members [][]int32 // clients, by target
	// streams are the sequences of messages. There is one for each target, or more so that each publisher has one.
	streams []stream
}

// stream is a sequence of numbered messages to one target. One publisher sends them one after the other.
type stream struct {
	target int
	// issued is the number of the last message that was sent, accepted of the last that a node has accepted.
	issued, accepted atomic.Uint32
	// left is how many clients have not got the last message yet; whoever brings it to 0 wakes the publisher.
	left atomic.Int32
	all  chan struct{}
}

func newPlan(name string, o *Options) *plan {
	p := &plan{o: o, name: name}
	targets := o.Hubs * max(1, o.Groups, o.Users)
	p.members = make([][]int32, targets)
	for t := range targets {
		hub, place := t%o.Hubs, t/o.Hubs
		clients := (o.Connections - hub + o.Hubs - 1) / o.Hubs
		switch {
		case o.GroupSize > 0:
			for k := range o.GroupSize {
				p.add(t, hub, (place*o.GroupSize+k)%clients)
			}
		case o.Groups > clients: // a client is in several
			p.add(t, hub, place%clients)
		case o.Groups > 0:
			for rank := place; rank < clients; rank += o.Groups {
				p.add(t, hub, rank)
			}
		case o.Users > 0:
			for rank := place; rank < clients; rank += o.Users {
				p.add(t, hub, rank)
			}
		default:
			for rank := range clients {
				p.add(t, hub, rank)
			}
		}
	}
	p.streams = make([]stream, max(targets, o.Publishers))
	for i := range p.streams {
		p.streams[i] = stream{target: i % targets, all: make(chan struct{}, 1)}
	}
	return p
}

func (p *plan) add(target, hub, rank int) {
	p.members[target] = append(p.members[target], int32(rank*p.o.Hubs+hub))
}

// hub is the name of the hub of a client or target.
func (p *plan) hub(i int) string {
	if p.o.Hubs == 1 {
		return p.name
	}
	return p.name + "-" + strconv.Itoa(i%p.o.Hubs)
}

// user is the user that a client is; "" for nobody.
func (p *plan) user(client int) string {
	if p.o.Users == 0 {
		return ""
	}
	return userName(client / p.o.Hubs % p.o.Users)
}

func userName(n int) string { return "user-" + strconv.Itoa(n) }

func groupName(n int) string { return "group-" + strconv.Itoa(n) }

// group is the group that the target is.
func (p *plan) group(target int) string { return groupName(target / p.o.Hubs) }

// audience is what a send says of whom it is to.
func (p *plan) audience(target int) string {
	switch {
	case p.o.Groups > 0:
		return fmt.Sprintf(`,"groups":[%q]`, p.group(target))
	case p.o.Users > 0:
		return fmt.Sprintf(`,"users":[%q]`, userName(target/p.o.Hubs))
	}
	return ""
}

// isSlow tells whether a client does not read. They are spread evenly.
func (p *plan) isSlow(client int) bool {
	share := p.o.Slow
	return int(float64(client+1)*share) > int(float64(client)*share)
}

// due is how many clients must get a message to the target.
func (p *plan) due(target int) (n int32) {
	for _, client := range p.members[target] {
		if !p.isSlow(int(client)) {
			n++
		}
	}
	return n
}

// hears lists for each client the targets that it is in.
func (p *plan) hears() [][]int {
	targets := make([][]int, p.o.Connections)
	for t, members := range p.members {
		for _, client := range members {
			targets[client] = append(targets[client], t)
		}
	}
	return targets
}

// streamsOf returns the streams of targets, in order.
func (p *plan) streamsOf(targets []int) (list []int) {
	for round := 0; round < len(p.streams); round += len(p.members) {
		for _, t := range targets {
			if round+t < len(p.streams) {
				list = append(list, round+t)
			}
		}
	}
	return list
}

// pick chooses one of the streams of a publisher.
func (p *plan) pick(publisher int) int {
	own := (len(p.streams) - publisher + p.o.Publishers - 1) / p.o.Publishers
	return publisher + rand.IntN(own)*p.o.Publishers
}

package streams

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestUnpack(t *testing.T) {
	long := strings.Repeat("y", 300)
	for _, test := range []struct {
		name, packed string
		list         []string
		rest         string
	}{
		{"nothing", "", nil, ""},
		{"an empty list", "\x90", []string{}, ""},
		{"strings", "\x92\xa1a\xa0", []string{"a", ""}, ""},
		{"two lists", "\x91\xa2ab\x91\xa1c", []string{"ab"}, "\x91\xa1c"},
		{"long strings", "\x92\xda\x01\x2c" + long + "\xd9\x02\xff\x00", []string{long, "\xff\x00"}, ""},
		{"numbers", "\x94\x07\xff\xcf\x00\x00\x01\x9a\x00\x00\x00\x00\xd1\xff\x00", []string{"7", "-1", "1760936591360", "-256"}, ""},
		{"what there was not", "\x92\xc2\xa1a", []string{"", "a"}, ""},
	} {
		list, rest, err := unpack(test.packed)
		if err != nil || !slices.Equal(list, test.list) || rest != test.rest {
			t.Errorf("%s: unpacked %q, %q, %v; want %q, %q", test.name, list, rest, err, test.list, test.rest)
		}
	}
	for name, packed := range map[string]string{
		"no list":            "\xa1a",
		"a list too short":   "\x92\xa1a",
		"a string too short": "\x91\xa2a",
		"a list too long":    "\xdd\xff\xff\xff\xff\xa1a",
		"a number too large": "\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
		"a number too short": "\x91\xcf\xff",
		"a list in a list":   "\x91\x90",
		"a map":              "\x91\x80",
		"a float":            "\x91\xcb\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		if list, _, err := unpack(packed); !errors.Is(err, errAnswer) {
			t.Errorf("%s: unpacked %q, %v", name, list, err)
		}
	}
}

package hubprotocol_test

import (
	"fmt"
	"strings"
	"testing"

	"hubstream/transports/hubprotocol"
)

func TestInvocation(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ id, target, arguments, want string }{
		{"", "Send", `[42,"hi"]`, `{"type":1,"target":"Send","arguments":[42,"hi"]}␞`},
		{"s7", "Ask", `[]`, `{"type":1,"invocationId":"s7","target":"Ask","arguments":[]}␞`},
		{"0", "\"\\\n\x1e", `[]`, `{"type":1,"invocationId":"0","target":"\"\\\u000a\u001e","arguments":[]}␞`},
		{"", "héllo 你好", `["héllo 你好 😀 \ud83d\ude00 \u001e \/"]`, `{"type":1,"target":"héllo 你好","arguments":["héllo 你好 😀 \ud83d\ude00 \u001e \/"]}␞`},
		{"", "x", " [ 1 ,\r\n\t{ \"a b\" : [ ] , \"\" : { } } , \" \" , null ] \n", `{"type":1,"target":"x","arguments":[1,{"a b":[],"":{}}," ",null]}␞`},
		{"", "x", `[-0,0.0,1.50,1E+2,18446744073709551615,-9223372036854775808,1e-400]`, `{"type":1,"target":"x","arguments":[-0,0.0,1.50,1E+2,18446744073709551615,-9223372036854775808,1e-400]}␞`},
		{"", "x", `[{"a":{"a":1}},{"a":2,"A":3}]`, `{"type":1,"target":"x","arguments":[{"a":{"a":1}},{"a":2,"A":3}]}␞`},
		{"", "x", nested(63), `{"type":1,"target":"x","arguments":` + nested(63) + `}␞`},
	} {
		got, err := hubprotocol.AppendInvocationWithID([]byte("before"), test.id, test.target, []byte(test.arguments))
		if want := "before" + string(records(test.want)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", test.arguments, got, err, want)
		}
	}
}

// What one client could not read would end its connection, and every reconnect would meet the message again.
func TestInvocationThatSomeClientCannotRead(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ target, arguments, want string }{
		{"", `[]`, "target: empty"},
		{"\xff", `[]`, "target: invalid UTF-8"},
		{"x", ``, "arguments: expected a JSON array"},
		{"x", `{}`, "arguments: expected a JSON array"},
		{"x", `[`, "arguments[0]: the JSON ends too early"},
		{"x", `[1`, "arguments: the JSON ends too early"},
		{"x", `[1,]`, `arguments[1]: unexpected "]" at byte 3`},
		{"x", `[1 2]`, `arguments: unexpected "2" at byte 3`},
		{"x", `[] []`, "arguments: trailing data at byte 3"},
		{"x", "[]\x1e", "arguments: trailing data at byte 2"},
		{"x", `[01]`, `arguments: unexpected "1" at byte 2`},
		{"x", `[1.]`, `arguments[0]: unexpected "]" at byte 3`},
		{"x", `[+1]`, `arguments[0]: unexpected "+" at byte 1`},
		{"x", `[NaN]`, `arguments[0]: unexpected "N" at byte 1`},
		{"x", `[nul]`, `arguments[0]: unexpected "]" at byte 4`},
		{"x", `["\x"]`, `arguments[0]: unexpected "x" at byte 3`},
		{"x", `["\u12"]`, `arguments[0]: invalid escape at byte 2`},
		{"x", "[\"\x1e\"]", `arguments[0]: unexpected "\x1e" at byte 2`},
		{"x", "[\"\xc0\x80\"]", "arguments[0]: invalid UTF-8 at byte 2"},
		{"x", "[\"\xed\xa0\x80\"]", "arguments[0]: invalid UTF-8 at byte 2"},
		{"x", "[{\"\xff\":1}]", "arguments[0]: invalid UTF-8 at byte 3"},
		{"x", `[1,2,18446744073709551616]`, "arguments[2]: integer 18446744073709551616 is beyond 64 bits"},
		{"x", `[-9223372036854775809]`, "arguments[0]: integer -9223372036854775809 is beyond 64 bits"},
		{"x", `[` + strings.Repeat("9", 50) + `]`, "arguments[0]: integer " + strings.Repeat("9", 40) + "... is beyond 64 bits"},
		{"x", `[{"user":{"n":[1e400]}}]`, "arguments[0].user.n[0]: number 1e400 is beyond float64"},
		{"x", `["a\ud800b"]`, `arguments[0]: lone surrogate \ud800`},
		{"x", `["\ud800\ud800"]`, `arguments[0]: lone surrogate \ud800`},
		{"x", `["\ude00\ud83d"]`, `arguments[0]: lone surrogate \ude00`},
		{"x", `[{"a":1,"b":2,"a":3}]`, `arguments[0]: duplicate key "a"`},
		{"x", `[{"a":{"a":1},"\u0061":3}]`, `arguments[0]: duplicate key "\\u0061"`},
		{"x", `[{"\u0061":{"a":1},"a":3}]`, `arguments[0]: duplicate key "a"`},
		{"x", `[{"__proto__":1}]`, "arguments[0]: the key __proto__ is refused by JavaScript clients"},
		{"x", `[{"_\u005fproto__":1}]`, "arguments[0]: the key __proto__ is refused by JavaScript clients"},
		{"x", nested(64), "arguments" + strings.Repeat("[0]", 63) + ": nested deeper than 64 levels"},
	} {
		got, err := hubprotocol.AppendInvocation([]byte("before"), test.target, []byte(test.arguments))
		wantMessageError(t, err, test.want)
		if string(got) != "before" {
			t.Errorf("%s: got %q, want it as it was", test.arguments, got)
		}
	}
}

func TestDuplicateKeyInLargeObjects(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5, 31, 32, 33, 1000} {
		// The outer objects' keys are remembered while the inner ones come and go.
		text := strings.Repeat(`{"o":1,"in":`, 9) + object(size, "") + strings.Repeat(`}`, 9)
		if _, err := hubprotocol.AppendInvocation(nil, "x", []byte("["+text+","+text+"]")); err != nil {
			t.Errorf("%d keys: %v", size, err)
		}
		path := "arguments[0]" + strings.Repeat(".in", 9)
		for _, again := range []int{0, size / 2, size - 1} {
			key := fmt.Sprintf(`"key%d"`, again)
			text := strings.Repeat(`{"o":1,"in":`, 9) + object(size, ","+key+`:0`) + strings.Repeat(`}`, 9)
			_, err := hubprotocol.AppendInvocation(nil, "x", []byte("["+text+"]"))
			wantMessageError(t, err, path+": duplicate key "+key)
		}
		text = strings.Repeat(`{"o":1,"in":`, 9) + object(size, "") + strings.Repeat(`,"o":1}`, 9)
		_, err := hubprotocol.AppendInvocation(nil, "x", []byte("["+text+"]"))
		wantMessageError(t, err, "arguments[0]"+strings.Repeat(".in", 8)+`: duplicate key "o"`)
	}
}

// object has that many members with objects as values, and more.
func object(size int, more string) string {
	members := make([]string, size)
	for i := range members {
		members[i] = fmt.Sprintf(`"key%d":{"key%d":%d}`, i, i, i)
	}
	return "{" + strings.Join(members, ",") + more + "}"
}

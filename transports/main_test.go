package transports_test

import (
	"testing"

	"go.uber.org/goleak"
)

// A package of connections leaves no goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

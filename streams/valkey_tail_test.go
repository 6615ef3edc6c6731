package streams

import "time"

// RetryUnblock sets after how long tails ask again whether CLIENT UNBLOCK is allowed.
func (v *Valkey) RetryUnblock(d time.Duration) { v.unblockRetry = d }

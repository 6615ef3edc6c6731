package jsclient

import "time"

// SetPatience tells how long commands may last.
func (c *Client) SetPatience(d time.Duration) { c.patience = d }

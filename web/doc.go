// Package web is the console: one embedded page that watches a cluster and tries it, and the feed that it lives on.
//
// The page is written in TypeScript in app/ and built by npm into dist/, which is not kept; a binary that was built
// without npm has a page instead that says how to build it. All that the page needs comes from the node that served it.
//
//	GET /                    the page
//	GET /console/assets/...  what it loads
//	GET /console/session     whether a key is needed, and which node this is
//	GET /console/history     the last minutes of the feed
//	GET /console/feed        the feed: one event stream, with the same events for all viewers
//	GET /console/api/...     hubs, their logs, and single connections; these are handlers' own
//
// Each node tells the others its figures through the store every two seconds, and reads theirs in the same step; a node
// that was killed stops telling. Nothing of this is on the way of a message.
package web

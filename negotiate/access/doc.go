// Package access proves who a request is from: it checks the access tokens of clients and backends, and makes them.
//
// A token is a JWT, signed in one of two ways:
//
//	HS256, HS512   with an access key, which the nodes and the backends share, as Azure SignalR Service has it
//	RS*, PS*, ES*  by an identity provider, whose public keys are fetched (JWKS)
//
// Its audience says what it is for, and nothing else does. The check is in two parts. What holds for a token wherever
// it is shown, its signature and what it says, is found out once and kept until the token expires (Verifier). Whether it is good here
// and now, its times and its audience, is asked for every request.
//
//	client   {scheme}://{host}/client/?hub={hub}, or {scheme}://{host}/hubs/{hub}
//	backend  {scheme}://{host}{path of the request}, or {scheme}://{host}/api/hubs/{hub} for all requests about one hub
//
// A client's token is handed to browsers: that it is no backend's is the most important rule here.
//
// Left to others: where in a request the token is, and what an answer without one looks like.
package access

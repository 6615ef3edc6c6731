package negotiate

// The content of a token lies behind its seal, where no fuzzer comes.
var (
	AppendContent = appendContent
	ParseContent  = parseContent
)

package node

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// readFile reads settings from a file in TOML, which has the flags' names:
//
//	valkey = ["10.0.0.1:6379"]
//	drain  = "30s"
//
// It returns what was given for each setting, nil where nothing was. Errors are one line, and never have values:
// they may be secrets.
func readFile(path string) ([]*string, error) {
	var values map[string]any
	if _, err := toml.DecodeFile(path, &values); err != nil {
		var syntax toml.ParseError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("%s: line %d is not TOML", path, syntax.Position.Line)
		}
		var missing *os.PathError
		if errors.As(err, &missing) {
			return nil, missing
		}
		return nil, fmt.Errorf("%s: it cannot be read as TOML", path)
	}
	given := make([]*string, len(settings))
	for name, value := range values {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		if i < 0 || name == configSetting {
			return nil, fmt.Errorf("%s: %s: unknown setting; -help lists the settings", path, name)
		}
		raw, err := rawValue(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, name, err)
		}
		given[i] = &raw
	}
	return given, nil
}

// rawValue writes a value of the file as a flag would have it.
func rawValue(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case []any:
		parts := make([]string, len(v))
		for i, element := range v {
			text, ok := element.(string)
			if !ok {
				return "", errors.New("a list holds strings only")
			}
			parts[i] = text
		}
		return strings.Join(parts, ","), nil
	default:
		return "", errors.New("neither a string, a number, true or false, nor a list of strings")
	}
}

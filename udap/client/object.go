package client

import (
	"errors"
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// object is one JSON object of an answer: no member twice, valid UTF-8. A member that is
// null is absent, as some servers send every member that they know of.
type object map[string]jsontext.Value

func parseObject(data []byte) (object, error) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, err
	}
	if o == nil {
		return nil, errors.New("null is no object")
	}

	maps.DeleteFunc(o, func(_ string, v jsontext.Value) bool { return v.Kind() == jsontext.KindNull })
	return o, nil
}

// text is a string member; empty when it is absent or something else.
func (o object) text(name string) string {
	var s string
	if v, ok := o[name]; !ok || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// list is a member that is an array of strings; nil when it is absent.
func (o object) list(name string) ([]string, error) {
	v, ok := o[name]
	if !ok {
		return nil, nil
	}

	out := []string{}
	if v.Kind() != jsontext.KindBeginArray || json.Unmarshal(v, &out) != nil {
		return nil, fmt.Errorf("%s is not an array of strings", name)
	}
	return out, nil
}

// listOrNil is list for a member whose type does not matter.
func (o object) listOrNil(name string) []string {
	l, err := o.list(name)
	if err != nil {
		return nil
	}
	return l
}

// number is a member that is a whole number.
func (o object) number(name string) (int64, bool) {
	var n int64
	v, ok := o[name]
	if !ok || v.Kind() != jsontext.KindNumber || json.Unmarshal(v, &n) != nil {
		return 0, false
	}
	return n, true
}

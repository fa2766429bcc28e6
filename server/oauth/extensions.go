package oauth

import (
	"github.com/go-json-experiment/json/jsontext"

	"fhirdest.example/udap"
)

// Extension is an authorization extension object that this server recognises
// besides hl7-b2b. Whatever else a client sends under extensions is ignored,
// always (UDAP client authorization grants 6.4 allows that or refusing).
type Extension struct {
	Key  string
	Hint func(key string) string // what to say about a key that is not this one but was once, or ""
	// Judge says what is wrong with the object, or nothing.
	Judge func(jsontext.Value) error
}

// judgeExtensions judges the extension objects besides hl7-b2b and keeps the
// good ones as the token's context.
func (s *Service) judgeExtensions(a *authenticated, g *granted, tr *udap.Trace) error {
	for _, x := range s.cfg.Extensions {
		v, sent := a.ant.Extensions[x.Key]
		if !sent {
			continue
		}
		if err := x.Judge(v); err != nil {
			return tr.Refuse(checkExtension, udap.InvalidGrant, udap.Finding{Expected: x.Key + " as its definition has it", Found: err.Error(), Err: err})
		}
		tr.Pass(checkExtension, x.Key, "well-formed")
		g.extensions[x.Key] = v
	}
	for key := range a.ant.Extensions {
		if _, kept := g.extensions[key]; !kept {
			tr.Warn(checkExtension, udap.Finding{Expected: "extension objects that the metadata lists", Found: key, Remedy: s.extensionHint(key)})
		}
	}
	return nil
}

func (s *Service) extensionHint(key string) string {
	for _, x := range s.cfg.Extensions {
		if x.Hint == nil {
			continue
		}
		if hint := x.Hint(key); hint != "" {
			return hint
		}
	}
	return "it was ignored"
}

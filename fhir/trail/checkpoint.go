package trail

import (
	"encoding/hex"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Checkpoint has the head of each chain by the chain's name, to be kept elsewhere.
type Checkpoint map[string]Place

// String writes the places in the order of the names, separated by commas:
// NAME=SEQUENCE:HASH, or SEQUENCE:HASH for the chain without a name.
func (c Checkpoint) String() string {
	var b strings.Builder
	for i, name := range c.names() {
		if i > 0 {
			b.WriteByte(',')
		}
		if name != "" {
			b.WriteString(url.QueryEscape(name) + "=")
		}
		b.WriteString(strconv.FormatUint(c[name].Sequence, 10) + ":" + c[name].Hash.String())
	}
	return b.String()
}

func (c Checkpoint) names() []string {
	return slices.Sorted(maps.Keys(c))
}

// ParseCheckpoint parses what String wrote. The numbers of the records in the store
// are not in it.
func ParseCheckpoint(s string) (c Checkpoint, ok bool) {
	c = Checkpoint{}
	for part := range strings.SplitSeq(s, ",") {
		name, place, named := strings.Cut(part, "=")
		if !named {
			name, place = "", part
		}

		name, err := url.QueryUnescape(name)
		p, ok := parsePlace(place)
		if _, twice := c[name]; !ok || twice || err != nil || named == (name == "") {
			return nil, false
		}
		c[name] = p
	}
	return c, true
}

func parsePlace(s string) (p Place, ok bool) {
	number, hash, _ := strings.Cut(s, ":")
	n, err := strconv.ParseUint(number, 10, 64)
	b, failed := hex.DecodeString(hash)
	if err != nil || failed != nil || len(b) != len(p.Hash) {
		return p, false
	}
	return Place{
		Sequence: n,
		Hash:     Hash(b),
	}, true
}

package match

import (
	"slices"
	"strings"

	"fhirdest.example/fhir/search"
	"fhirdest.example/fhir/tree"
)

// maxEach bounds how many names, identifiers, contacts and addresses of one person
// are looked at. Nobody has more by far; stored records that do are cut.
const maxEach = 20

// Person is what a Patient resource has for matching, normalized.
type Person struct {
	names       []name
	identifiers []identifier
	phones      []string // digits
	emails      []string
	addresses   []address
	birth       string // YYYY, YYYY-MM or YYYY-MM-DD
	gender      string
	photo       bool
}

// name is one HumanName: words in small letters without accents.
type name struct {
	family string
	given  []string
	suffix string
}

func (n name) first() string {
	if len(n.given) == 0 {
		return ""
	}
	return n.given[0]
}

// identifier has its value as it is written, for look-ups, and plain: letters and
// digits only.
type identifier struct {
	system string
	codes  []string // of its type
	value  string
	plain  string
}

func (i identifier) is(codes ...string) bool {
	return slices.ContainsFunc(i.codes, func(c string) bool {
		return slices.Contains(codes, c)
	})
}

// address is one Address: lines and city in small letters, the words of streets
// abbreviated.
type address struct {
	use     string
	written string // the lines, not abbreviated
	line    string
	city    string
	state   string
	postal  string
}

// NewPerson reads a Patient resource.
func NewPerson(patient *tree.Value) *Person {
	p := &Person{
		birth:  patient.Get("birthDate").Text(),
		gender: patient.Get("gender").Text(),
		photo:  patient.Get("photo") != nil,
	}

	each(patient, "name", p.addName)
	each(patient, "identifier", p.addIdentifier)
	each(patient, "telecom", p.addContact)
	each(patient, "address", p.addAddress)

	return p
}

func each(v *tree.Value, member string, f func(*tree.Value)) {
	list := v.Get(member).Each()
	for i := range list[:min(len(list), maxEach)] {
		f(&list[i])
	}
}

// addName reads a name; one that has a text alone is taken apart (the guide:
// HumanName.text may be there in place of family and given).
func (p *Person) addName(v *tree.Value) {
	n := name{
		family: search.Fold(v.Get("family").Text()),
		suffix: search.Fold(firstText(v.Get("suffix"))),
	}
	each(v, "given", func(g *tree.Value) {
		if word := search.Fold(g.Text()); word != "" {
			n.given = append(n.given, word)
		}
	})

	if n.family == "" && len(n.given) == 0 {
		n.family, n.given = apart(v.Get("text").Text())
	}
	if n.family != "" || len(n.given) > 0 {
		p.names = append(p.names, n)
	}
}

// apart takes a whole name apart: "Family, Given Middle" or "Given Middle Family".
func apart(text string) (family string, given []string) {
	if before, after, found := strings.Cut(text, ","); found {
		return search.Fold(before), strings.Fields(search.Fold(after))
	}

	words := strings.Fields(text)
	for i, w := range words {
		words[i] = search.Fold(w)
	}
	if len(words) == 0 {
		return "", nil
	}

	return words[len(words)-1], words[:len(words)-1]
}

func (p *Person) addIdentifier(v *tree.Value) {
	i := identifier{
		system: v.Get("system").Text(),
		value:  v.Get("value").Text(),
	}
	i.plain = plain(i.value)
	if i.plain == "" {
		return
	}

	each(v.Get("type"), "coding", func(c *tree.Value) {
		i.codes = append(i.codes, c.Get("code").Text())
	})
	p.identifiers = append(p.identifiers, i)
}

// plain is a value's letters and digits, in capitals.
func plain(value string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r > 0x7f:
			return r
		}
		return -1
	}, value)
}

func (p *Person) addContact(v *tree.Value) {
	value := v.Get("value").Text()
	switch v.Get("system").Text() {
	case "phone", "sms":
		if digits := telephone(value); digits != "" {
			p.phones = append(p.phones, digits)
		}
	case "email":
		if value = strings.ToLower(strings.TrimSpace(value)); strings.Contains(value, "@") {
			p.emails = append(p.emails, value)
		}
	}
}

// telephone is a number's digits, without an extension and the prefix of North
// America; "" when there are too few to mean somebody.
func telephone(value string) string {
	value = strings.TrimPrefix(strings.ToLower(value), "tel:")
	if i := strings.IndexAny(value, "x;#"); i > 0 {
		value = value[:i]
	}

	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, value)
	if len(digits) == 11 {
		digits = strings.TrimPrefix(digits, "1")
	}
	if len(digits) < 7 {
		return ""
	}

	return digits
}

func (p *Person) addAddress(v *tree.Value) {
	var lines []string
	each(v, "line", func(l *tree.Value) {
		lines = append(lines, search.Fold(l.Text()))
	})

	a := address{
		use:     v.Get("use").Text(),
		written: strings.Join(lines, " "),
		city:    search.Fold(v.Get("city").Text()),
		state:   search.Fold(v.Get("state").Text()),
		postal:  plain(v.Get("postalCode").Text()),
	}
	a.line = street(a.written)

	if len(a.postal) == 9 && strings.Trim(a.postal, "0123456789") == "" {
		a.postal = a.postal[:5] // ZIP+4
	}
	p.addresses = append(p.addresses, a)
}

// streetWords are the words of addresses that are abbreviated, by the usual
// abbreviations of the United States Postal Service.
var streetWords = map[string]string{
	"street": "st", "avenue": "ave", "av": "ave", "road": "rd", "drive": "dr", "lane": "ln", "boulevard": "blvd",
	"court": "ct", "place": "pl", "square": "sq", "terrace": "ter", "parkway": "pkwy", "highway": "hwy",
	"circle": "cir", "trail": "trl", "way": "way", "crescent": "cres", "north": "n", "south": "s", "east": "e",
	"west": "w", "northeast": "ne", "northwest": "nw", "southeast": "se", "southwest": "sw", "saint": "st",
	"apartment": "apt", "suite": "ste", "unit": "apt", "floor": "fl", "building": "bldg", "room": "rm",
}

// street is an address's lines with each word abbreviated.
func street(lines string) string {
	words := strings.Fields(lines)
	for i, w := range words {
		if short, ok := streetWords[w]; ok {
			words[i] = short
		}
	}
	return strings.Join(words, " ")
}

func firstText(v *tree.Value) string {
	for _, one := range v.Each() {
		return one.Text()
	}
	return ""
}

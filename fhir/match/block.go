package match

import (
	"strings"

	"fhirdest.example/fhir/search"
)

// maxBlocks bounds the look-ups of one request.
const maxBlocks = 64

// Block is one look-up: the patients for whom all its parameters hold are
// candidates. The first blocks name fewer people than the last.
type Block []search.Pair

// Blocks lists the look-ups by which the people are found who might be the person.
func (p *Person) Blocks() []Block {
	var all []Block
	for _, i := range p.identifiers {
		all = append(all, i.block())
	}
	for _, e := range p.emails {
		all = append(all, Block{{Name: "email", Value: escape(e)}})
	}
	for _, digits := range p.phones {
		all = append(all, Block{{Name: "phone", Value: writings(digits)}})
	}

	if len(p.birth) == len("2006-01-02") {
		all = append(all, p.byBirth()...)
	}
	for _, a := range p.addresses {
		all = append(all, a.blocks()...)
	}
	for _, n := range p.names {
		all = append(all, n.blocks()...)
	}

	return all[:min(len(all), maxBlocks)]
}

// escape writes a value for a search (R4 search 3.1.1.4.1.1).
func escape(value string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `|`, `\|`, `$`, `\$`).Replace(value)
}

// block looks an identifier up as it is written, and by its letters and digits.
func (i identifier) block() Block {
	values := []string{i.value}
	if i.plain != i.value {
		values = append(values, i.plain)
	}
	if i.is("SS") && len(i.plain) == 9 {
		values = append(values, i.plain[:3]+"-"+i.plain[3:5]+"-"+i.plain[5:])
	}

	for n, v := range values {
		values[n] = escape(v)
		if i.system != "" {
			values[n] = escape(i.system) + "|" + values[n]
		}
	}

	return Block{{Name: "identifier", Value: strings.Join(values, ",")}}
}

// writings are the ways in which a telephone number is usually written.
func writings(digits string) string {
	all := []string{digits, "+" + digits}
	if len(digits) == 10 {
		area, exchange, line := digits[:3], digits[3:6], digits[6:]
		for _, prefix := range []string{"", "+1 ", "+1", "1 ", "1-", "+1-", "1"} {
			all = append(all,
				prefix+digits,
				prefix+area+"-"+exchange+"-"+line,
				prefix+area+" "+exchange+"-"+line,
				prefix+area+" "+exchange+" "+line,
				prefix+area+"."+exchange+"."+line,
				prefix+"("+area+") "+exchange+"-"+line,
				prefix+"("+area+")"+exchange+"-"+line,
			)
		}
	}

	return strings.Join(all, ",")
}

// byBirth looks the date of birth up, and together with names: there may be too
// many who were born that day. Day and month may be in each other's place.
func (p *Person) byBirth() []Block {
	born := search.Pair{Name: "birthdate", Value: p.birth}
	all := []Block{{born}}
	turned := p.birth[:4] + "-" + p.birth[8:] + "-" + p.birth[5:7]

	for _, n := range p.names {
		if n.family != "" {
			all = append(all, Block{born, {Name: "family", Value: escape(n.family)}})
		}
		if n.first() != "" {
			all = append(all, Block{born, {Name: "given", Value: escape(n.first())}})
		}
		if n.family != "" && turned != p.birth && p.birth[8:] <= "12" {
			all = append(all, Block{
				{Name: "birthdate", Value: turned},
				{Name: "family", Value: escape(n.family)},
			})
		}
	}

	return all
}

// blocks look an address up by the number and first word of its street, with the
// place.
func (a address) blocks() []Block {
	words := strings.Fields(a.written)
	if len(words) < 2 {
		return nil
	}

	start := search.Pair{Name: "address", Value: escape(words[0] + " " + words[1])}
	var all []Block
	if a.postal != "" {
		all = append(all, Block{start, {Name: "address-postalcode", Value: escape(a.postal)}})
	}
	if a.city != "" {
		all = append(all, Block{start, {Name: "address-city", Value: escape(a.city)}})
	}

	return all
}

// blocks look family and given name up, and with the two in each other's place.
func (n name) blocks() []Block {
	if n.family == "" || n.first() == "" {
		return nil
	}

	both := func(family, given string) Block {
		return Block{
			{Name: "family", Value: escape(family)},
			{Name: "given", Value: escape(given)},
		}
	}
	return []Block{both(n.family, n.first()), both(n.first(), n.family)}
}

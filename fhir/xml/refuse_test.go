package xml

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"fhirdest.example/fhir/table"
	"fhirdest.example/fhir/tree"
	"fhirdest.example/fhir/validate"
)

// patient wraps what a Patient holds.
func patient(inner string) string {
	return `<Patient xmlns="http://hl7.org/fhir">` + inner + `</Patient>`
}

// narrated wraps what the div of a Patient's narrative holds.
func narrated(inner string) string {
	return patient(`<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml">` + inner +
		`</div></text>`)
}

func inUTF16(s string) string {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

// attacks are what XML parsers are attacked with.
func attacks() map[string]string {
	external := `<!DOCTYPE Patient [<!ENTITY x SYSTEM "file:///etc/passwd">]>`
	laughs := `<!DOCTYPE Patient [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;">]>`
	return map[string]string{
		"external entity":      external + patient(`<id value="&x;"/>`),
		"parameter entity":     `<!DOCTYPE Patient [<!ENTITY % p SYSTEM "http://192.0.2.1/x">%p;]>` + patient(""),
		"external subset":      `<!DOCTYPE Patient SYSTEM "http://192.0.2.1/x">` + patient(""),
		"billion laughs":       laughs + patient(`<id value="&b;"/>`),
		"document type alone":  `<!DOCTYPE Patient>` + patient(""),
		"document type inside": patient(`<!DOCTYPE Patient>`),
		"undeclared entity":    patient(`<id value="&x;"/>`),
		"entity of HTML":       narrated("a&nbsp;b"),
		"UTF-16":               inUTF16(`<?xml version="1.0" encoding="UTF-16"?>` + patient("")),
		"UTF-16 declared":      `<?xml version="1.0" encoding="UTF-16"?>` + patient(""),
		"UTF-7 declared":       `<?xml version="1.0" encoding="UTF-7"?>+ADw-Patient+AD4-`,
		"Latin 1":              `<?xml version="1.0" encoding="ISO-8859-1"?>` + patient("<language value=\"\xe9\"/>"),
		"XInclude": patient(
			`<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd"/>`),
		"schema location": `<Patient xmlns="http://hl7.org/fhir" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://hl7.org/fhir x.xsd"/>`,
		"xsi:nil": patient(
			`<active xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:nil="true"/>`),
		"xml:id":                 patient(`<name xml:id="x"><family value="y"/></name>`),
		"xml:base":               `<Patient xmlns="http://hl7.org/fhir" xml:base="http://192.0.2.1/"/>`,
		"style sheet":            `<?xml-stylesheet href="http://192.0.2.1/x.xsl"?>` + patient(""),
		"processing instruction": patient(`<?php system("id") ?>`),
		"instruction in a div":   narrated(`<?php system("id") ?>`),
		"deep":                   patient(strings.Repeat("<extension>", 200000)),
		"deep narrative":         narrated(strings.Repeat("<p>", 200000)),
		"deep and closed": patient(strings.Repeat(`<extension url="x">`, 100) +
			strings.Repeat("</extension>", 100)),
	}
}

// Covers: case 255, FS-902
func TestAttacksAreRefused(t *testing.T) {
	for name, body := range attacks() {
		t.Run(name, func(t *testing.T) {
			_, err := Read([]byte(body))
			if err == nil {
				t.Fatal("accepted")
			}

			var e *tree.Error
			if !errors.As(err, &e) || e.Code != "structure" {
				t.Errorf("not an error of structure: %v", err)
			}
			if strings.Contains(err.Error(), "root:") || len(err.Error()) > 400 {
				t.Errorf("the message shows too much: %.500s", err)
			}
		})
	}
}

func TestMalformedXMLIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                     ``,
		"white space":               "  \n",
		"JSON":                      `{"resourceType":"Patient"}`,
		"two roots":                 patient("") + patient(""),
		"text after":                patient("") + "x",
		"text before":               "x" + patient(""),
		"white space before":        " <?xml version=\"1.0\"?>" + patient(""),
		"two marks":                 "\ufeff\ufeff" + patient(""),
		"not closed":                `<Patient xmlns="http://hl7.org/fhir">`,
		"closed twice":              patient("</Patient>"),
		"closed by another":         patient(`<name></text>`),
		"prefix at the end":         `<f:Patient xmlns:f="http://hl7.org/fhir" xmlns="http://hl7.org/fhir"></Patient>`,
		"attribute twice":           patient(`<active value="true" value="false"/>`),
		"attributes not apart":      patient(`<active id="a"value="true"/>`),
		"no quotes":                 patient(`<active value=true/>`),
		"mixed quotes":              patient(`<active value="true'/>`),
		"no value":                  patient(`<active value/>`),
		"< in a value":              patient(`<language value="<"/>`),
		"bare &":                    patient(`<language value="a & b"/>`),
		"reference not ended":       patient(`<language value="&#65"/>`),
		"reference to nothing":      patient(`<language value="&#;"/>`),
		"reference to NUL":          patient(`<language value="&#0;"/>`),
		"reference to a control":    patient(`<language value="&#x1f;"/>`),
		"reference to a surrogate":  patient(`<language value="&#xD800;"/>`),
		"reference to U+FFFF":       patient(`<language value="&#xFFFF;"/>`),
		"reference out of Unicode":  patient(`<language value="&#x110000;"/>`),
		"reference with a sign":     patient(`<language value="&#+65;"/>`),
		"capital X":                 patient(`<language value="&#X41;"/>`),
		"control character":         patient("<language value=\"\x01\"/>"),
		"U+FFFE":                    patient("<language value=\"\ufffe\"/>"),
		"NUL":                       patient("<language value=\"\x00\"/>"),
		"invalid UTF-8":             patient("<language value=\"\xff\"/>"),
		"CDATA":                     patient(`<![CDATA[x]]>`),
		"CDATA in a div":            narrated(`<![CDATA[x]]>`),
		"]]> in a div":              narrated(`]]>`),
		"text":                      patient(`<active>true</active>`),
		"text as a reference":       patient(`&#32;`),
		"comment with two hyphens":  patient(`<!-- a -- b -->`),
		"comment with three":        patient(`<!-- a --->`),
		"comment not ended":         patient(`<!-- a`),
		"control in a comment":      patient("<!-- \x02 -->"),
		"comment in a tag":          patient(`<active <!-- x --> value="true"/>`),
		"version 1.1":               `<?xml version="1.1"?>` + patient(""),
		"no version":                `<?xml encoding="UTF-8"?>` + patient(""),
		"declaration in disorder":   `<?xml version="1.0" standalone="yes" encoding="UTF-8"?>` + patient(""),
		"unknown declaration":       `<?xml version="1.0" x="y"?>` + patient(""),
		"declaration not ended":     `<?xml version="1.0"` + patient(""),
		"second declaration":        `<?xml version="1.0"?><?xml version="1.0"?>` + patient(""),
		"tag not ended":             patient(`<active value="true"`),
		"slash in a tag":            patient(`<active / value="true">`),
		"many attributes":           patient(`<active ` + manyAttributes() + `/>`),
		"name beyond ASCII":         patient(`<nämé/>`),
		"name with space before it": patient(`< active value="true"/>`),
	} {
		t.Run(name, func(t *testing.T) { refused(t, body) })
	}
}

func manyAttributes() string {
	var b strings.Builder
	for i := range maxAttributes + 1 {
		b.WriteString(" a" + strings.Repeat("a", i) + `=""`)
	}
	return b.String()
}

func refused(t *testing.T, body string) {
	t.Helper()
	got, err := Read([]byte(body))
	if err == nil {
		t.Errorf("read as %.300s", got)
	}
	if e := (*tree.Error)(nil); err != nil && !errors.As(err, &e) {
		t.Errorf("%T: %v", err, err)
	}
}

func TestNamespacesAreEnforced(t *testing.T) {
	const fhir = `xmlns="http://hl7.org/fhir"`
	for name, body := range map[string]string{
		"none":                 `<Patient/>`,
		"another":              `<Patient xmlns="urn:hl7-org:v3"/>`,
		"with a slash":         `<Patient xmlns="http://hl7.org/fhir/"/>`,
		"undeclared prefix":    `<f:Patient/>`,
		"prefix only declared": `<Patient xmlns:f="http://hl7.org/fhir"/>`,
		"removed inside":       patient(`<active xmlns="" value="true"/>`),
		"changed inside":       patient(`<active xmlns="urn:x" value="true"/>`),
		"foreign element":      patient(`<x:note xmlns:x="urn:x">hello</x:note>`),
		"foreign attribute":    patient(`<active xmlns:x="urn:x" x:y="z" value="true"/>`),
		"prefixed value":       `<f:Patient xmlns:f="http://hl7.org/fhir"><f:active f:value="true"/></f:Patient>`,
		"out of scope": patient(
			`<active xmlns:f="http://hl7.org/fhir" value="true"/><f:gender value="male"/>`),
		"empty prefix":      `<Patient ` + fhir + ` xmlns:="urn:x"/>`,
		"prefix of nothing": `<Patient ` + fhir + ` xmlns:x=""/>`,
		"xml rebound":       `<Patient ` + fhir + ` xmlns:xml="http://hl7.org/fhir"/>`,
		"xmlns bound":       `<Patient ` + fhir + ` xmlns:xmlns="http://hl7.org/fhir"/>`,
		"bound to xml":      `<Patient ` + fhir + ` xmlns:x="http://www.w3.org/XML/1998/namespace"/>`,
		"two colons":        `<a:b:Patient ` + fhir + ` xmlns:a="http://hl7.org/fhir"/>`,
		"div of FHIR":       patient(`<text><status value="generated"/><div>x</div></text>`),
		"div with a prefix": patient(
			`<text><status value="generated"/><h:div xmlns:h="http://www.w3.org/1999/xhtml">x</h:div></text>`),
		"undeclared prefix in a div": narrated(`<x:b>c</x:b>`),
		"many prefixes": patient(
			strings.Repeat(`<extension url="x" xmlns:a="u" xmlns:b="u" xmlns:c="u">`, 30)),
	} {
		t.Run(name, func(t *testing.T) { refused(t, body) })
	}
}

func TestWhatFHIRDoesNotKnowIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"unknown resource":        `<Patent xmlns="http://hl7.org/fhir"/>`,
		"data type as a resource": `<HumanName xmlns="http://hl7.org/fhir"/>`,
		"abstract resource":       `<DomainResource xmlns="http://hl7.org/fhir"/>`,
		"unknown element":         patient(`<surname value="x"/>`),
		"JSON's name":             patient(`<_active id="x"/>`),
		"resourceType":            patient(`<resourceType value="Patient"/>`),
		"choice without its type": patient(`<deceased value="true"/>`),
		"attribute on a resource": `<Patient xmlns="http://hl7.org/fhir" id="x"/>`,
		"unknown attribute":       patient(`<active value="true" use="x"/>`),
		"value of a complex type": patient(`<name value="x"/>`),
		"url of another type":     patient(`<name url="x"/>`),
		"id as an element":        patient(`<name><id value="x"/></name>`),
		"url as an element":       patient(`<extension><url value="x"/></extension>`),
		"empty primitive":         patient(`<active/>`),
		"empty value":             patient(`<active value=""/>`),
		"empty id":                patient(`<name id=""/>`),
		"element inside a value":  patient(`<active value="true"><text/></active>`),
		"disorder":                patient(`<gender value="male"/><active value="true"/>`),
		"once too often":          patient(`<active value="true"/><active value="true"/>`),
		"two of a choice":         patient(`<deceasedBoolean value="true"/><deceasedDateTime value="2020"/>`),
		"repeated with a gap":     patient(`<name id="a"/><gender value="male"/><name id="b"/>`),
		"contained nothing":       patient(`<contained/>`),
		"contained two":           patient(`<contained><Patient/><Patient/></contained>`),
		"contained an element":    patient(`<contained><name/></contained>`),
		"contained with an id":    patient(`<contained id="x"><Patient/></contained>`),
		"contained text":          patient(`<contained>x</contained>`),
	} {
		t.Run(name, func(t *testing.T) { refused(t, body) })
	}
}

// What XML allows beside FHIR's own ways of writing means the same.
func TestWritingsOfXMLThatMeanTheSame(t *testing.T) {
	const active = `{"resourceType":"Patient","active":true}`
	for name, c := range map[string]struct{ body, want string }{
		"declaration": {
			`<?xml version="1.0" encoding="utf-8" standalone="no" ?>` + "\r\n" + patient(`<active value="true"/>`),
			active,
		},
		"mark": {"\ufeff" + `<?xml version='1.0'?>` + patient(`<active value='true'/>`), active},
		"comments": {
			"<!-- a -->" + patient(`<!-- b --><active value="true"><!-- c --></active>`) + "<!-- d -->\n",
			active,
		},
		"prefix": {
			`<f:Patient xmlns:f="http://hl7.org/fhir"><f:active value="true"></f:active></f:Patient >`,
			active,
		},
		"unused prefix": {
			`<Patient xmlns="http://hl7.org/fhir" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><active value = "true" /></Patient>`,
			active,
		},
		"declared inside": {
			`<f:Patient xmlns:f="http://hl7.org/fhir"><active xmlns="http://hl7.org/fhir" value="true"/></f:Patient>`,
			active,
		},
		"references": {
			patient(`<language value="&#x41;&#66;&amp;&lt;&gt;&quot;&apos;&#x0000042;"/>`),
			`{"resourceType":"Patient","language":"AB&<>\"'B"}`,
		},
		"white space in a value": {
			patient("<language value=\"a\tb\r\nc\rd\ne&#9;&#10;&#13;\"/>"),
			`{"resourceType":"Patient","language":"a b c d e\t\n\r"}`,
		},
		"narrative with an inherited namespace": {
			`<f:Patient xmlns:f="http://hl7.org/fhir" xmlns="http://www.w3.org/1999/xhtml"><f:text><div>x</div></f:text></f:Patient>`,
			`{"resourceType":"Patient","text":{"div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}}`,
		},
		"narrative verbatim": {
			narrated("\r\n<p title='>'>a&amp;b&#xa0;<!-- </div> --></p><br />"),
			`{"resourceType":"Patient","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">` +
				`\r\n<p title='>'>a&amp;b&#xa0;<!-- </div> --></p><br /></div>"}}`,
		},
		"not a number": {
			patient(`<multipleBirthInteger value="01"/>`),
			`{"resourceType":"Patient","multipleBirthInteger":"01"}`,
		},
		"not a truth": {patient(`<active value="True"/>`), `{"resourceType":"Patient","active":"True"}`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read([]byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("read as\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

// What Read leaves to package validate is refused there.
func TestWrongValuesAreRefusedByTheValidator(t *testing.T) {
	v := validate.New(table.R4())
	for _, inner := range []string{
		`<active value="True"/>`,
		`<active value=" true"/>`,
		`<multipleBirthInteger value="+1"/>`,
		`<multipleBirthInteger value="1.0"/>`,
		`<multipleBirthInteger value="0x1"/>`,
		`<birthDate value=" 2020-01-01 "/>`,
		`<birthDate value="2020-01-01&#10;"/>`,
		`<name/>`,
		`<text><status value="generated"/><div xmlns="http://www.w3.org/1999/xhtml"><script>x</script></div></text>`,
	} {
		t.Run(inner, func(t *testing.T) {
			body, err := Read([]byte(patient(inner)))
			if err != nil {
				t.Fatal(err)
			}
			root, err := tree.Parse(body)
			if err != nil {
				t.Fatal(err)
			}

			if validate.OK(v.Resource(root, validate.Options{})) {
				t.Errorf("accepted: %s", body)
			}
		})
	}
}

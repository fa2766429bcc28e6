package narrative

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

func wrap(inner string) string {
	return `<div xmlns="http://www.w3.org/1999/xhtml">` + inner + `</div>`
}

// lines reads a vector file: one case a line, # for comments, \n for a new line.
func lines(t *testing.T, name string) []string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if line := s.Text(); line != "" && line[0] != '#' {
			all = append(all, strings.ReplaceAll(line, `\n`, "\n"))
		}
	}

	if len(all) == 0 {
		t.Fatalf("%s holds no case", name)
	}
	return all
}

// Covers: ER-22 (narrative), FS-801, FS-804, FS-805, case 258
func TestRefused(t *testing.T) {
	for _, inner := range lines(t, "testdata/refused.txt") {
		if err := Check(wrap("text "+inner), nil); err == nil {
			t.Errorf("accepted: %s", inner)
		}
	}
}

func TestAccepted(t *testing.T) {
	for _, inner := range lines(t, "testdata/accepted.txt") {
		if err := Check(wrap(inner), nil); err != nil {
			t.Errorf("%v: %s", err, inner)
		}
	}
}

// Covers: FS-802, case 258
func TestWholeDocuments(t *testing.T) {
	for name, div := range map[string]string{
		"empty":              "",
		"text alone":         "hello",
		"no namespace":       "<div>text</div>",
		"other namespace":    `<div xmlns="http://www.w3.org/2000/svg">text</div>`,
		"not a div":          `<p xmlns="http://www.w3.org/1999/xhtml">text</p>`,
		"prefix":             `<h:div xmlns:h="http://www.w3.org/1999/xhtml">text</h:div>`,
		"divan":              `<divan xmlns="http://www.w3.org/1999/xhtml">text</divan>`,
		"declaration":        `<?xml version="1.0"?>` + wrap("text"),
		"document type":      `<!DOCTYPE div>` + wrap("text"),
		"two":                wrap("text") + wrap("text"),
		"text after":         wrap("text") + "more",
		"not closed":         `<div xmlns="http://www.w3.org/1999/xhtml">text`,
		"cut in a tag":       `<div xmlns="http://www.w3.org/1999/xhtml`,
		"cut after <":        wrap("text")[:50] + "<",
		"nothing to read":    wrap(" \n<p> </p>&#32;"),
		"empty element":      `<div xmlns="http://www.w3.org/1999/xhtml"/>`,
		"a comment only":     wrap("<!-- text -->"),
		"too deep":           wrap(strings.Repeat("<b>", 70) + "x" + strings.Repeat("</b>", 70)),
		"too long":           wrap(strings.Repeat("x", maxSize)),
		"nested other xmlns": wrap(`<p xmlns="urn:x">text</p>`),
	} {
		t.Run(name, func(t *testing.T) {
			if err := Check(div, nil); err == nil {
				t.Errorf("%s: accepted", name)
			}
		})
	}
}

// Covers: FS-803
func TestIDsAreUnique(t *testing.T) {
	ids := map[string]bool{"taken": true}
	seen := func(id string) bool {
		first := !ids[id]
		ids[id] = true
		return first
	}
	if err := Check(wrap(`<p id="a">x</p><p id="b">x</p>`), seen); err != nil || !ids["a"] || !ids["b"] {
		t.Errorf("%v %v", err, ids)
	}

	for _, inner := range []string{`<p id="c">x</p><b id="c">x</b>`, `<p id="taken">x</p>`} {
		if err := Check(wrap(inner), seen); err == nil {
			t.Errorf("accepted: %s", inner)
		}
	}
}

// FuzzCheck: nothing accepted holds what a browser could run or fetch by
// itself, whatever its disguise.
func FuzzCheck(f *testing.F) {
	f.Add(wrap(`<a href="java&#115;cript:x">x</a>`))
	f.Add(wrap(`<p style="color:red">x</p>`))
	f.Fuzz(func(t *testing.T, div string) {
		if Check(div, nil) != nil {
			return
		}

		plain := strings.ToLower(div)
		for _, bad := range []string{"<script", "<iframe", "<object", "<!doctype", "<?", "<svg", "<style", "<form"} {
			if strings.Contains(plain, bad) {
				t.Errorf("accepted: %s", div)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	div := wrap(strings.Repeat(`<p class="x">Name: <b>Anna</b> &amp; others</p>`, 20))
	b.SetBytes(int64(len(div)))
	for b.Loop() {
		if err := Check(div, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// Relink changes links and no other byte.
func TestRelink(t *testing.T) {
	to := func(link string) string {
		if link == "urn:x&y" {
			return `Patient/1?"<&`
		}
		return link
	}

	for name, c := range map[string]struct{ inner, want string }{
		"link":  {`<a href="urn:x&amp;y">x</a>`, `<a href="Patient/1?&quot;&lt;&amp;">x</a>`},
		"image": {`a<img alt="b" src='urn:x&#38;y'/>c`, `a<img alt="b" src='Patient/1?&quot;&lt;&amp;'/>c`},
		"two": {
			`<a href="urn:x&amp;y">x</a> <a href="urn:x&amp;y">y</a>`,
			`<a href="Patient/1?&quot;&lt;&amp;">x</a> <a href="Patient/1?&quot;&lt;&amp;">y</a>`,
		},
		"others": {
			`<a href="urn:z"  title="urn:x&amp;y" >urn:x&amp;y</a ><!-- urn:x -->`,
			`<a href="urn:z"  title="urn:x&amp;y" >urn:x&amp;y</a ><!-- urn:x -->`,
		},
		"not accepted": {`<a href="urn:x&amp;y">x</b>`, `<a href="urn:x&amp;y">x</b>`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Relink(wrap(c.inner), to); got != wrap(c.want) {
				t.Errorf("got %s, want %s", got, wrap(c.want))
			}
		})
	}
}

// Elements that HTML 4 has and narrative has not (R4 narrative.html: outside chapters
// 7 to 11 and 15, 9.4, and deprecated), and some of later editions.
const withoutNarrative = "html head title base meta link style script noscript body frameset frame noframes iframe " +
	"object param applet embed map area form input button select optgroup option textarea label fieldset legend isindex " +
	"ins del basefont font center dir menu s strike u svg math video audio source track canvas template slot dialog " +
	"details summary marquee blink keygen picture portal xmp plaintext listing nobr bgsound image"

// The intrinsic events of HTML 4 (18.2.3), and some of later editions.
const events = "onload onunload onclick ondblclick onmousedown onmouseup onmouseover onmousemove onmouseout onfocus " +
	"onblur onkeypress onkeydown onkeyup onsubmit onreset onselect onchange onerror onbegin onanimationstart ontoggle " +
	"onpointerdown onwheel onbeforeprint onscroll formaction srcdoc srcset action background ping target is slot " +
	"xlink:href xml:base http-equiv contenteditable autofocus usemap ismap classid codebase data dynsrc lowsrc"

// What the white list does not name is refused, on every element that it names, in
// any case of letters.
//
// Covers: FS-801
func TestNothingButTheWhiteList(t *testing.T) {
	for _, name := range strings.Fields(withoutNarrative) {
		for _, written := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			for _, div := range []string{wrap("x<" + written + "/>"), wrap("x<p><" + written + ">y</" + written + "></p>")} {
				if Check(div, nil) == nil {
					t.Errorf("accepted: %s", div)
				}
			}
		}
	}

	for name := range elements {
		for _, attribute := range strings.Fields(events) {
			for _, written := range []string{attribute, strings.ToUpper(attribute)} {
				div := wrap(`x<` + name + ` ` + written + `="x"/>`)
				if Check(div, nil) == nil {
					t.Errorf("accepted: %s", div)
				}
			}
		}

		if err := Check(wrap("x<"+name+` id="a" class="b" title="c" lang="en" dir="ltr"/>`), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if upper := strings.ToUpper(name); Check(wrap("x<"+upper+"/>"), nil) == nil {
			t.Errorf("accepted: %s", upper)
		}
	}
}

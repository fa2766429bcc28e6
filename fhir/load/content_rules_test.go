package load_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"fhirdest.example/fhir"
	"fhirdest.example/fhir/async/asyncenv"
	"fhirdest.example/fhir/xml"
)

// content is what must not be stored, as one member of a resource.
type content struct {
	typ, members  string // of the resource without it
	member, value string
	status        int
	where         string // the expression that the answer names
}

func (c content) whole(id, value string) string {
	return `{"resourceType":"` + c.typ + `","id":"` + id + `"` + c.members + `,"` + c.member + `":` + value + `}`
}

const harmless = `<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>`

// told is a narrative of a Basic; inner is as it stands in JSON.
func told(inner string) content {
	return content{
		typ:     "Basic",
		members: `,"code":{"text":"x"}`,
		member:  "text",
		value:   `{"status":"generated","div":"` + strings.Replace(harmless, "x</div>", "x"+inner+"</div>", 1) + `"}`,
		status:  422,
		where:   "Basic.text.div",
	}
}

// attached is an attachment of three bytes in a Patient's photo.
func attached(more string) content {
	return content{
		typ:    "Patient",
		member: "photo",
		value:  `[{"contentType":"image/png","data":"AAAA",` + more + `}]`,
		status: 422,
		where:  "Patient.photo[0]",
	}
}

var refusedContents = map[string]content{
	"size":           attached(`"size":4`),
	"hash":           attached(`"hash":"2jmj7l5rSw0yVb/vlWAYkK/YBwk="`),
	"hash, in hex":   attached(`"hash":"29e2dcfbb16f63bb0254df7585a15bb6fb5e927d"`),
	"size, not hash": attached(`"size":0,"hash":"KeLc+7FvY7sCVN91haFbtvtekn0="`),
	"in a document": {
		"DocumentReference", `,"status":"current"`, "content",
		`[{"attachment":{"contentType":"text/plain","data":"AAAA","size":4}}]`, 422,
		"DocumentReference.content[0].attachment",
	},
	"in a report": {
		"DiagnosticReport", `,"status":"final","code":{"text":"x"}`, "presentedForm",
		`[{"contentType":"text/plain","data":"AAAA","size":4}]`, 422,
		"DiagnosticReport.presentedForm[0]",
	},
	"in a choice": {
		"Communication", `,"status":"completed"`, "payload",
		`[{"contentAttachment":{"contentType":"text/plain","data":"AAAA","size":4}}]`, 422,
		"Communication.payload[0].content",
	},
	"in an extension": {
		"Basic", `,"code":{"text":"x"}`, "extension",
		`[{"url":"urn:x","valueAttachment":{"contentType":"text/plain","data":"AAAA","size":4}}]`,
		422, "Basic.extension[0].value",
	},
	"in a Bundle": {
		"Bundle", `,"type":"collection"`, "entry",
		`[{"fullUrl":"urn:uuid:0d4f7a52-6c0e-4a1c-9d9b-0c5f7f3a1a01","resource":{"resourceType":"Media","status":"completed","content":{"contentType":"image/png","data":"AAAA","size":4}}}]`,
		422, "Bundle.entry[0].resource",
	},
	"in what it holds": {
		"Basic", `,"code":{"text":"x"},"subject":{"reference":"#p"}`, "contained",
		`[{"resourceType":"Patient","id":"p","photo":[{"contentType":"image/png","data":"AAAA","size":4}]}]`,
		422, "Basic.contained[0].photo[0]",
	},

	"base64 cut": {
		"Patient", "", "photo", `[{"contentType":"image/png","data":"AAA"}]`, 400,
		"Patient.photo[0].data",
	},
	"base64 loose": {
		"Patient", "", "photo", `[{"contentType":"image/png","data":"AAB="}]`, 400,
		"Patient.photo[0].data",
	},
	"base64url": {
		"Patient", "", "photo", `[{"contentType":"image/png","data":"-_-_"}]`, 400,
		"Patient.photo[0].data",
	},
	"binary base64": {"Binary", `,"contentType":"text/plain"`, "data", `"AA A"`, 400, "Binary.data"},

	"script":             told(`<script>alert(1)</script>`),
	"event":              told(`<p onclick='alert(1)'>x</p>`),
	"form":               told(`<form action='x'><input type='text'/></form>`),
	"frame":              told(`<iframe src='x'/>`),
	"object":             told(`<object data='x'/>`),
	"style sheet":        told(`<link rel='stylesheet' href='x'/>`),
	"deprecated":         told(`<font color='red'>x</font>`),
	"svg":                told(`<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>`),
	"javascript":         told(`<a href='java&#x0A;script:alert(1)'>x</a>`),
	"scheme":             told(`<a href='file:///etc/passwd'>x</a>`),
	"image from outside": told(`<img src='https://tracker.example.org/x.png'/>`),
	"style from outside": told(`<p style='background:u\\72l(//tracker.example.org/x.png)'>x</p>`),
	"import":             told(`<p style='@im/**/port &#39;x&#39;'>x</p>`),
	"an id twice":        told(`<p id='a'>x</p><p id='a'>y</p>`),
	"nothing to see": {
		"Basic", `,"code":{"text":"x"}`, "text",
		`{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"> </div>"}`, 422,
		"Basic.text.div",
	},
	"in what it contains": {
		"Basic", `,"code":{"text":"x"},"subject":{"reference":"#p"}`, "contained",
		`[{"resourceType":"Patient","id":"p","text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\"><script>x</script></div>"}}]`,
		422, "Basic.contained[0].text.div",
	},
}

// waysIn are the ways in which content reaches the store. Each returns the status
// of what was asked for and the text of the refusal.
var waysIn = map[string]func(t *testing.T, e *asyncenv.Env, c content) (status int, text string){
	"create": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		return came(e.Do("POST", "/"+c.typ, asyncenv.All, c.whole("x", c.value)))
	},
	"update": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		return came(e.Do("PUT", "/"+c.typ+"/x", asyncenv.All, c.whole("x", c.value)))
	},
	"conditional update": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		return came(e.Do("PUT", "/"+c.typ+"?_id=x", asyncenv.All, c.whole("x", c.value)))
	},
	"XML": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		document, err := xml.Write([]byte(c.whole("x", c.value)), xml.Options{})
		e.Must(err)
		return came(e.Do("PUT", "/"+c.typ+"/x", asyncenv.All, string(document), "Content-Type", "application/fhir+xml"))
	},
	"patch": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		base := `{"resourceType":"` + c.typ + `","id":"base"` + c.members + `}`
		base = strings.Replace(base, `,"subject":{"reference":"#p"}`, "", 1)
		if c.typ == "DocumentReference" { // which has to have some content
			base = c.whole("base", `[{"attachment":{"url":"http://example.org/x"}}]`)
		}
		if w := e.Do("PUT", "/"+c.typ+"/base", asyncenv.All, base); w.Code >= 300 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}

		patch := `[{"op":"add","path":"/` + c.member + `","value":` + c.value + `}`
		if strings.Contains(c.members, "#p") {
			patch += `,{"op":"add","path":"/subject","value":{"reference":"#p"}}`
		}
		status, text := came(e.Do("PATCH", "/"+c.typ+"/base", asyncenv.All, patch+"]", "Content-Type",
			"application/json-patch+json"))
		if status == 422 {
			status = c.status // a patch whose result is malformed does not fit
		}

		return status, text
	},
	"transaction": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		return came(e.Do("POST", "", asyncenv.All, inBundle("transaction", c)))
	},
	"batch": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		_, text := came(e.Do("POST", "", asyncenv.All, inBundle("batch", c)))
		if !strings.Contains(text, fmt.Sprintf(`"status":"%d `, c.status)) {
			return 200, text
		}
		return c.status, text
	},
	"import": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		r := imported(t, e, asyncenv.All, c.whole("x", c.value))
		if r.Refused != 1 {
			return 200, ""
		}
		return c.status, r.reasons
	},
	"$validate": func(t *testing.T, e *asyncenv.Env, c content) (int, string) {
		status, text := came(e.Do("POST", "/"+c.typ+"/$validate", asyncenv.All, c.whole("x", c.value)))
		if status == 200 && strings.Contains(text, `"severity":"error"`) {
			return c.status, text
		}
		return status, text
	},
}

func came(w *httptest.ResponseRecorder) (status int, text string) {
	return w.Code, w.Body.String()
}

func inBundle(kind string, c content) string {
	return `{"resourceType":"Bundle","type":"` + kind + `","entry":[{"resource":` + c.whole("x", c.value) +
		`,"request":{"method":"PUT","url":"` + c.typ + `/x"}}]}`
}

// What must not be stored is refused in whatever way it comes, the answer names
// where it is, and nothing of it is stored.
//
// Covers: FS-603, FS-605, FS-801, FS-802, FS-803, FS-804, FS-805, case 258
func TestContentIsRefusedInEveryWay(t *testing.T) {
	e := newEnv(t, func(c *fhir.Config) {
		c.StrictAttachments = true
	})

	for name, c := range refusedContents {
		t.Run(name, func(t *testing.T) {
			for way, send := range waysIn {
				where := c.where
				if way == "transaction" {
					where = "Bundle.entry[0].resource" + strings.TrimPrefix(where, c.typ)
				}
				if status, text := send(t, e, c); status != c.status || !strings.Contains(text, where) {
					t.Errorf("%s: %d %s, want %d at %s", way, status, text, c.status, where)
				}
			}

			if w := e.Do("GET", "/"+c.typ+"/x", asyncenv.All, ""); w.Code != 404 {
				t.Errorf("it is stored: %d %s", w.Code, w.Body)
			}
		})
	}
}

// The same members with content that is right are stored, so that what is refused
// above is refused for its content.
func TestContentThatIsRight(t *testing.T) {
	e := newEnv(t, func(c *fhir.Config) {
		c.StrictAttachments = true
	})

	for name, c := range map[string]content{
		"attachment": attached(`"size":3,"hash":"KeLc+7FvY7sCVN91haFbtvtekn0="`),
		"one without data": {
			typ:    "Patient",
			member: "photo",
			value:  `[{"contentType":"image/png","url":"http://example.org/x","size":4,"hash":"AAAA"}]`,
		},
		"base64 with spaces": {
			typ:     "Binary",
			members: `,"contentType":"text/plain"`,
			member:  "data",
			value:   `"AA AA\n"`,
		},
		"narrative": told(`<p id='a'><b>x</b> &amp; <img src='data:image/png;base64,AAAA' alt='x'/></p>`),
	} {
		t.Run(name, func(t *testing.T) {
			if w := e.Do("PUT", "/"+c.typ+"/x", asyncenv.All, c.whole("x", c.value)); w.Code > 201 {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

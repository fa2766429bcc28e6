package fhir_test

import (
	"encoding/base64"
	"strings"
	"testing"
)

const hiddenReport = `{"resourceType":"DocumentReference","id":"hidden","status":"current","type":{"coding":[{"code":"hidden"}]},"content":[{"attachment":{"url":"Binary/kept-1"}}]}`

func hiddenBinary(w *env) {
	w.t.Helper()
	w.do("PUT", "/DocumentReference/hidden", everything, hiddenReport).want(201)
	w.do("PUT", "/Binary/kept-1", everything,
		`{"resourceType":"Binary","id":"kept-1","contentType":"text/plain","securityContext":{"reference":"DocumentReference/hidden"},"data":"`+
			base64.StdEncoding.EncodeToString([]byte("secret"))+`"}`).want(201)
}

// Who may not read a Binary's context may not change the Binary either: the
// answer of a patch would show it, and a patch could take the context away.
// Covers: FS-602, case 236, case 238
func TestBinaryIsChangedAsItsContext(t *testing.T) {
	w := newEnv(t, 0)
	hiddenBinary(w)
	const others = "system/Binary.cruds system/DocumentReference.cruds?type=open"
	patch := func(of string) answer {
		return w.do("PATCH", "/Binary"+of, others, `[{"op":"remove","path":"/securityContext"}]`, "Content-Type",
			patchType)
	}
	put := `{"resourceType":"Binary","id":"kept-1","contentType":"text/plain"}`

	b64 := base64.StdEncoding.EncodeToString([]byte(`[{"op":"remove","path":"/securityContext"}]`))
	entry := `{"request":{"method":"PATCH","url":"Binary/kept-1"},"resource":{"resourceType":"Binary","contentType":"` + patchType + `","data":"` + b64 + `"}}`
	for name, a := range map[string]answer{
		"patch":             patch("/kept-1").want(404),
		"conditional patch": patch("?_id=kept-1").want(404),
		"put":               w.do("PUT", "/Binary/kept-1", others, put).want(404),
		"put, other tag":    w.do("PUT", "/Binary/kept-1", others, put, "If-Match", `W/"9"`).want(404),
		"put, any":          w.do("PUT", "/Binary/kept-1", others, put, "If-None-Match", `*`).want(404),
		"delete":            w.do("DELETE", "/Binary/kept-1", others, "").want(404),
		"delete by search":  w.do("DELETE", "/Binary?_id=kept-1", others, "").want(204),
		"transaction":       w.do("POST", "", others, bundleOf("transaction", entry)).want(400),
		"batch": w.do("POST", "", others, bundleOf("batch", entry), "Prefer",
			"return=representation").want(200),
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(a.Body.String(), "c2Vj") {
				t.Errorf("%s shows it: %s", name, a.Body)
			}
		})
	}

	if got := w.get("/Binary/kept-1", everything).want(200); got.Header().Get("ETag") != `W/"1"` {
		t.Errorf("it was changed: %s", got.Body)
	}
	w.do("PATCH", "/Binary/kept-1", "system/Binary.cruds system/DocumentReference.rs?type=hidden",
		`[{"op":"replace","path":"/contentType","value":"text/html"}]`, "Content-Type", patchType).want(200)
	w.do("DELETE", "/Binary/kept-1", everything, "").want(204)
	w.get("/Binary/kept-1", others).want(404)
	w.get("/Binary/kept-1", everything).want(410)
}

// A Binary outlives its context: who may read every resource of that type can
// still put it in order, others see nothing of it.
func TestBinaryOfADeletedContext(t *testing.T) {
	w := newEnv(t, 0)
	hiddenBinary(w)
	w.do("DELETE", "/DocumentReference/hidden", everything, "").want(204)
	w.get("/Binary/kept-1", "system/Binary.rs system/DocumentReference.rs?type=hidden").want(404)
	w.get("/Binary/kept-1", everything).want(200)
	w.do("DELETE", "/Binary/kept-1", everything, "").want(204)
}

// Content is kept and given byte for byte, as a file and under its own type unless
// readers would take that for something else; nothing in it runs.
//
// Covers: FS-601, FS-604, case 258
func TestContentIsGivenAsAFile(t *testing.T) {
	w := newEnv(t, 0)
	for sent, given := range map[string]string{
		"text/html":                     "text/html",
		"image/svg+xml":                 "image/svg+xml",
		"application/xhtml+xml":         "application/xhtml+xml",
		"text/xml; charset=utf-8":       "text/xml; charset=utf-8",
		"application/javascript":        "application/javascript",
		"application/pdf":               "application/pdf",
		"image/png":                     "image/png",
		"multipart/x-mixed-replace":     "application/octet-stream",
		"multipart/form-data; boundary": "application/octet-stream",
		"message/http":                  "application/octet-stream",
		"x-world/x-3dmf":                "application/octet-stream",
	} {
		t.Run(sent, func(t *testing.T) {
			content := "<script>alert(1)</script>\x00\xff--x\r\n\r\n"
			resource := `{"resourceType":"Binary","contentType":"` + sent + `","data":"` +
				base64.StdEncoding.EncodeToString([]byte(content)) + `"}`
			at := w.do("POST", "/Binary", everything, resource).want(201).location()

			for _, method := range []string{"GET", "HEAD"} {
				a := w.do(method, at, everything, "", "Accept", "*/*;q=0.1, "+strings.Split(given, ";")[0]).want(200)
				h := a.Header()
				if method == "GET" && a.Body.String() != content {
					t.Errorf("the content is %q", a.Body)
				}
				if h.Get("Content-Type") != given || h.Get("Content-Disposition") != "attachment" ||
					h.Get("X-Content-Type-Options") != "nosniff" ||
					h.Get("Content-Security-Policy") != "sandbox; default-src 'none'" ||
					h.Get("Cross-Origin-Resource-Policy") != "same-origin" {
					t.Errorf("%s: %v", method, h)
				}
			}

			page := w.get(at+"?_format=html", everything).want(200)
			if strings.Contains(page.Body.String(), "<script") {
				t.Error("the page shows the content as it is")
			}
		})
	}
}

// The security context goes along with content in both directions, and decides.
//
// Covers: FS-602
func TestSecurityContextOfContent(t *testing.T) {
	w := newEnv(t, 0)
	w.do("PUT", "/Patient/a", everything, `{"resourceType":"Patient","id":"a"}`).want(201)
	for _, context := range []string{"javascript:alert(1)", "Patient/a b", "Nothing/1", ""} {
		a := w.do("POST", "/Binary", everything, "x", "Content-Type", "text/plain", "X-Security-Context", context)
		if a.Code < 400 || a.Code > 499 {
			t.Errorf("context %q: %d %s", context, a.Code, a.Body)
		}
	}

	w.do("POST", "/Binary", everything, `{"resourceType":"Binary","contentType":"text/plain","data":"eA=="}`,
		"X-Security-Context", "Patient/a").want(400)

	at := w.do("PUT", "/Binary/kept-2", everything, "x", "Content-Type", "text/plain", "X-Security-Context",
		"Patient/a").want(201).location()
	a := w.get(at, everything, "Accept", "text/plain").want(200)
	if a.Header().Get("X-Security-Context") != "Patient/a" {
		t.Errorf("%v", a.Header())
	}
	w.get(at, "system/Binary.rs", "Accept", "text/plain").want(404)

	w.do("PUT", "/Binary/kept-2", "system/Binary.cruds", "y", "Content-Type", "text/plain").want(404)
	w.do("PUT", "/Binary/kept-2", everything, "y", "Content-Type", "text/plain").want(200)
	if a := w.get("/Binary/kept-2", "system/Binary.rs", "Accept", "text/plain").want(200); a.Body.String() != "y" {
		t.Errorf("%s", a.Body)
	}
}

// What is too long as a resource is too long as content, and the most that fits as
// content can be read as a resource.
//
// Covers: FS-605
func TestContentAndResourceHaveOneLimit(t *testing.T) {
	w := newEnv(t, 0)
	const most = (16<<20 - 4096) / 4 * 3
	a := w.do("POST", "/Binary", everything, strings.Repeat("x", most+1), "Content-Type", "text/plain").want(413)
	if !strings.Contains(a.Body.String(), "12579840 bytes") {
		t.Errorf("%s", a.Body)
	}
	at := w.do("POST", "/Binary", everything, strings.Repeat("x", most), "Content-Type", "text/plain", "Prefer",
		"return=minimal").want(201).location()
	if n := w.get(at, everything, "Accept", "application/fhir+json").want(200).Body.Len(); n < most/3*4 {
		t.Errorf("%d bytes", n)
	}

	if n := w.get(at, everything, "Accept", "text/plain").want(200).Body.Len(); n != most {
		t.Errorf("%d bytes", n)
	}
}

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
// Covers: case 236, case 238
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

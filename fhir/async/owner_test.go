package async_test

import (
	"strings"
	"testing"
	"time"

	"fhirdest.example/fhir/async/asyncenv"
)

// A job is there for tokens of its client that cover what it was begun with. For
// everybody else it is as if there were none, whatever they ask for.
//
// Covers: ER-18, FS-302
func TestJobsOfOthersAreNotThere(t *testing.T) {
	const own = "system/Patient.rs system/Observation.rs; client=c1; patient=p; subject=s; purpose=TREAT,HPAYMT"
	e := asyncenv.New(t)
	at := e.Begin("GET", "/Patient?_count=1", own, "")
	if w := e.Wait(at, own); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}

	for name, c := range map[string]struct {
		token string
		want  int
	}{
		"a newer token": {own, 200},
		"scopes in another order": {
			strings.Replace(own, "system/Patient.rs system/Observation.rs", "system/Observation.rs system/Patient.rs", 1),
			200,
		},
		"more scopes":                {"system/Group.rs " + own, 200},
		"purposes in another order":  {strings.Replace(own, "TREAT,HPAYMT", "HPAYMT,TREAT", 1), 200},
		"another purpose":            {strings.Replace(own, "TREAT,HPAYMT", "HMARKT", 1), 404},
		"fewer purposes":             {strings.Replace(own, "TREAT,", "", 1), 404},
		"further purposes":           {own + ",HMARKT", 404},
		"no purpose":                 {strings.Replace(own, "; purpose=TREAT,HPAYMT", "", 1), 404},
		"another client":             {strings.Replace(own, "c1", "c2", 1), 404},
		"a client's name that grows": {strings.Replace(own, "c1", "c11", 1), 404},
		"fewer scopes":               {strings.Replace(own, " system/Observation.rs", "", 1), 404},
		"narrower scopes": {
			strings.Replace(own, "Observation.rs", "Observation.rs?category=laboratory", 1),
			404,
		},
		"another patient":      {strings.Replace(own, "patient=p", "patient=q", 1), 404},
		"no patient":           {strings.Replace(own, "; patient=p", "", 1), 404},
		"another person":       {strings.Replace(own, "subject=s", "subject=r", 1), 404},
		"other rights":         {own + "; records", 404},
		"another registration": {own + "; registration=2", 404},
	} {
		t.Run(name, func(t *testing.T) {
			w := e.Do("GET", at, c.token, "")
			if w.Code != c.want {
				t.Fatalf("%d, want %d: %s", w.Code, c.want, w.Body)
			}
			if c.want == 200 {
				return
			}

			if !e.Traced(w.Header().Get("Trace-Id"), "job.owner") {
				t.Error("the refusal has no trace")
			}
			never := e.Do("GET", asyncenv.Base+"/_jobs/00112233445566778899aabbccddeeff", c.token, "")
			if never.Code != w.Code || never.Body.String() != w.Body.String() {
				t.Errorf("one that never was is distinguishable: %s, %s", never.Body, w.Body)
			}
			if w := e.Do("DELETE", at, c.token, ""); w.Code != 404 {
				t.Errorf("cancelled: %d", w.Code)
			}

			if w := e.Do("GET", at+"/result", c.token, ""); w.Code != 404 {
				t.Errorf("its file: %d", w.Code)
			}
		})
	}

	// not even its own client gets what is no output
	for _, name := range []string{"result", "request", "jobs.bolt", "..", "."} {
		if w := e.Do("GET", at+"/"+name, own, ""); w.Code != 404 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}

	if w := e.Do("GET", at, own, ""); w.Code != 200 {
		t.Errorf("the owner's own, after all that: %d", w.Code)
	}
}

// A job that is cancelled, or whose time is over, is not there any more, and
// neither are its files.
func TestCancelledAndExpired(t *testing.T) {
	e := asyncenv.New(t)
	at := e.Begin("GET", "/Patient", asyncenv.All, "")
	e.Wait(at, asyncenv.All)

	for i, want := range []int{202, 404} {
		if w := e.Do("DELETE", at, asyncenv.All, ""); w.Code != want ||
			!strings.Contains(w.Body.String(), "OperationOutcome") {
			t.Errorf("time %d: %d %s", i, w.Code, w.Body)
		}
	}

	if w := e.Do("GET", at, asyncenv.All, ""); w.Code != 404 || !strings.Contains(w.Body.String(), "OperationOutcome") {
		t.Errorf("after: %d %s", w.Code, w.Body)
	}
	e.Empty()

	at = e.Begin("GET", "/Patient", asyncenv.All, "")
	e.Wait(at, asyncenv.All)
	e.Late.Store(int64(2 * time.Hour))

	if !e.Eventually(func() bool { return e.Do("GET", at, asyncenv.All, "").Code == 404 }) {
		t.Error("a job of hours ago is still there")
	}
	e.Empty()
}

// A job of a client that is registered no longer is not done.
func TestRegistrationCancelled(t *testing.T) {
	e := asyncenv.New(t, func(e *asyncenv.Env) { e.Gone.Store(true) })
	at := e.Begin("PUT", "/Patient/p", asyncenv.All, patient)
	if w := e.Wait(at, asyncenv.All); w.Code != 403 || !strings.Contains(w.Body.String(), "registration") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := e.Do("GET", "/Patient/p", asyncenv.All, ""); w.Code != 404 {
		t.Errorf("it was done: %d", w.Code)
	}
}

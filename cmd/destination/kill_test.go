package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"fhirdest.example/server/servertest"
)

// process is a destination that runs as a program of its own.
type process struct {
	cmd *exec.Cmd
	d   *servertest.Destination
}

var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+), console (http://127\.0\.0\.1:\d+)`)

func startProcess(t *testing.T, w *servertest.Env, path string) *process {
	t.Helper()
	cmd := exec.Command("destination", "-config", path) // this program, by testscript.Main
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	found := listening.FindStringSubmatch(line)
	if err != nil || found == nil {
		t.Fatalf("%v: %q", err, line)
	}

	return &process{cmd, &servertest.Destination{
		Env:    w,
		Base:   servertest.Base,
		Issuer: strings.TrimSuffix(servertest.Base, "/fhir") + "/oauth",
		Addr:   found[1],
		Admin:  found[2],
		HTTP:   w.HTTPClient(found[1]),
	}}
}

// kill ends it as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	p.d.HTTP.CloseIdleConnections()
}

// begin sends a request to be done in the background, and returns its status URL.
func (p *process) begin(t *testing.T, method, path, token, media, body string) string {
	t.Helper()
	res := p.d.Do(method, servertest.Base+path, strings.NewReader(body), "Authorization", "Bearer "+token,
		"Content-Type", media, "Prefer", "respond-async")
	at := res.Header.Get("Content-Location")
	if res.StatusCode != http.StatusAccepted || at == "" {
		text, _ := io.ReadAll(res.Body)
		t.Fatalf("%s %s: %s %s", method, path, res.Status, text)
	}
	return at
}

// ended waits until a job has ended, and returns its answer.
func (p *process) ended(t *testing.T, at, token string) string {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		res, body := p.d.Get(at, "Authorization", "Bearer "+token)
		switch res.StatusCode {
		case http.StatusAccepted:
		case http.StatusOK:
			return body
		default:
			t.Fatalf("%s: %s %s", at, res.Status, body)
		}
	}

	t.Fatal("the job does not end")
	return ""
}

func patients(prefix string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b,
			`{"resourceType":"Patient","id":"%s%d","active":true,"name":[{"family":"F%d","given":["G"]}]}`+
				"\n", prefix, i, i)
	}
	return b.String()
}

// An export, an import and a change that are under way when the server is killed are
// done after the start, each once; nobody else sees them.
//
// Covers: ER-18
func TestWorkSurvivesKill(t *testing.T) {
	const lines = 6000
	w := newEnv(t)
	w.Config.Writable = true
	w.Config.Patients = 4
	w.Config.Jobs.Workers = 3
	path := config(t, w)
	p := startProcess(t, w, path)
	s := p.d.Session(w.A, w.Client(w.A, "https://killed.test"), "system/*.cruds")

	other := p.d.Session(w.B, w.Client(w.B, "https://other.test"), "system/*.cruds").Token.Access
	token := s.Token.Access

	for round := range 3 {
		name := fmt.Sprintf("r%dn", round)
		export := p.begin(t, "GET", "/$export?_type=Observation,Encounter", token, "", "")
		load := p.begin(t, "POST", "/$import", token, "application/fhir+ndjson", patients(name, lines))
		create := p.begin(t, "POST", "/Basic", token, "application/fhir+json",
			`{"resourceType":"Basic","code":{"text":"`+name+`"},"identifier":[{"value":"`+name+`"}]}`)
		time.Sleep(time.Duration(round) * 150 * time.Millisecond) // another place in the work each time
		p.kill()
		p = startProcess(t, w, path)

		for _, at := range []string{export, load, create} {
			if res, _ := p.d.Get(at, "Authorization", "Bearer "+other); res.StatusCode != http.StatusNotFound {
				t.Errorf("another client: %s", res.Status)
			}
		}

		var m struct {
			Output []struct {
				Type, URL string
				Count     int
			}
		}
		must(t, json.Unmarshal([]byte(p.ended(t, export, token)), &m, json.MatchCaseInsensitiveNames(true)))

		for _, f := range m.Output {
			_, text := p.d.Get(f.URL, "Authorization", "Bearer "+token)
			_, total := p.d.Get(servertest.Base+"/"+f.Type+"?_summary=count", "Authorization", "Bearer "+token)
			if n := strings.Count(text, "\n"); n != f.Count || !strings.Contains(total, fmt.Sprintf(`"total":%d`, n)) {
				t.Errorf("%d lines of %+v, stored: %s", n, f, total)
			}
		}

		if body := p.ended(t, load, token); !strings.Contains(body, fmt.Sprintf(`"lines":%d,"refused":0`, lines)) {
			t.Errorf("imported: %s", body)
		}
		_, total := p.d.Get(servertest.Base+"/Patient?_summary=count&_id="+name+"0,"+name+fmt.Sprint(lines-1),
			"Authorization", "Bearer "+token)
		if !strings.Contains(total, `"total":2`) {
			t.Errorf("the first and the last line: %s", total)
		}

		_, history := p.d.Get(servertest.Base+"/Patient/"+name+fmt.Sprint(lines/2)+"/_history", "Authorization",
			"Bearer "+token)
		if strings.Contains(history, `"versionId":"2"`) {
			t.Errorf("a line was stored twice: %s", history)
		}

		if body := p.ended(t, create, token); !strings.Contains(body, `"201 Created"`) {
			t.Errorf("created: %s", body)
		}
		_, found := p.d.Get(servertest.Base+"/Basic?_summary=count&identifier="+name, "Authorization", "Bearer "+token)
		if !strings.Contains(found, `"total":1`) {
			t.Errorf("created once? %s", found)
		}
	}

	p.kill()
}

// destination load goes on where it was killed, stores each line once and counts it
// once, and leaves a file that is loaded whole alone.
func TestLoadSurvivesKill(t *testing.T) {
	const lines = 12000
	w := newEnv(t)
	w.Config.Patients = 0
	path := config(t, w)
	file := filepath.Join(w.Dir, "Patient.ndjson")
	must(t, os.WriteFile(file, []byte(patients("p", lines)+"{}\n"), 0o600))

	killed := 0
	for wait := 100 * time.Millisecond; ; wait += 200 * time.Millisecond {
		var out, errs bytes.Buffer
		cmd := exec.Command("destination", "load", "-config", path, file)
		cmd.Stdout, cmd.Stderr = &out, &errs
		must(t, cmd.Start())
		timer := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		if code := cmd.ProcessState.ExitCode(); code >= 0 {
			want := fmt.Sprintf("loaded, %d lines, %d stored, 1 refused", lines+1, lines)
			if code != 1 || !strings.Contains(out.String(), want) || !strings.Contains(errs.String(), "100%") {
				t.Fatalf("%d %s%s", code, &out, &errs)
			}
			break
		}

		killed++
	}

	if killed == 0 {
		t.Error("it was never killed under way")
	}
	code, stdout, _ := runIt("load", "-config", path, file)
	if code != 1 || !strings.Contains(stdout, fmt.Sprintf("%d stored", lines)) {
		t.Errorf("again: %d %s", code, stdout)
	}

	d := w.Start(w.Listen())
	token := d.Session(w.A, w.Client(w.A, "https://reader.test"), "system/Patient.rs").Token.Access
	_, total := d.Get(servertest.Base+"/Patient?_summary=count", "Authorization", "Bearer "+token)
	_, history := d.Get(servertest.Base+"/Patient/_history?_count=1000", "Authorization", "Bearer "+token)
	if !strings.Contains(total, fmt.Sprintf(`"total":%d`, lines)) || strings.Contains(history, `"versionId":"2"`) {
		t.Errorf("%s", total)
	}

	if code, _, stderr := runIt("load", "-config", path, file); code != 2 ||
		!strings.Contains(stderr, "another process") {
		t.Errorf("beside a running destination: %d %s", code, stderr)
	}
}

// The command line of load.
func TestLoadUsage(t *testing.T) {
	w := newEnv(t)
	path := config(t, w)
	for want, args := range map[string][]string{
		"usage: destination load":    {"load", "-h"},
		"no file is named":           {"load", "-config", path},
		"no configuration is named":  {"load", "x.ndjson"},
		"no such file":               {"load", "-config", path, filepath.Join(w.Dir, "none.ndjson")},
		"cannot read configuration ": {"load", "-config", "none.yaml", "x.ndjson"},
	} {
		if code, stdout, stderr := runIt(args...); code == 1 || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%v: %d %s%s", args, code, stdout, stderr)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

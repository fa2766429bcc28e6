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
	"github.com/goccy/go-yaml"

	"fhirdest.example/server/postgres/postgrestest"
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

// places are where the work of a destination that is killed goes on: at the next one on its
// files or its database, or at another one on the database, without a restart.
var places = []struct {
	name    string
	configs func(t *testing.T, w *servertest.Env) []string
}{
	{"files", func(t *testing.T, w *servertest.Env) []string { return []string{config(t, w)} }},
	{"a database", func(t *testing.T, w *servertest.Env) []string { return shared(t, w, "east") }},
	{"another destination", func(t *testing.T, w *servertest.Env) []string { return shared(t, w, "east", "west") }},
}

// shared writes the configurations of destinations on one database.
func shared(t *testing.T, w *servertest.Env, names ...string) (paths []string) {
	t.Helper()
	database := postgrestest.New(t)
	for _, name := range names {
		there := *w
		there.Config.Data = database
		there.Config.Postgres.Name = name
		data, err := yaml.Marshal(there.Config)
		must(t, err)
		path := filepath.Join(w.Dir, name+".yaml")
		must(t, os.WriteFile(path, data, 0o600))
		paths = append(paths, path)
	}
	return paths
}

// An export, an import and a change that are under way when the server is killed are
// done after the start, or at another destination, each once; nobody else sees them.
//
// Covers: ER-18
func TestWorkSurvivesKill(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			w := newEnv(t)
			w.Config.Writable = true
			w.Config.Patients = 4
			w.Config.Jobs.Workers = 3
			configs := place.configs(t, w)
			var running []*process
			for _, path := range configs {
				running = append(running, startProcess(t, w, path))
			}
			p := running[0]
			token := p.d.Session(w.A, w.Client(w.A, "https://killed.test"), "system/*.cruds").Token.Access
			other := p.d.Session(w.B, w.Client(w.B, "https://other.test"), "system/*.cruds").Token.Access

			for round := range 3 {
				i := round % len(running)
				jobs := beginWork(t, running[i], token, round)
				time.Sleep(time.Duration(round) * 150 * time.Millisecond) // another place in the work each time
				running[i].kill()
				if len(running) == 1 {
					running[i] = startProcess(t, w, configs[i])
				}

				p = running[(round+1)%len(running)]
				for _, at := range jobs.all() {
					if res, _ := p.d.Get(at, "Authorization", "Bearer "+other); res.StatusCode != http.StatusNotFound {
						t.Errorf("another client: %s", res.Status)
					}
				}
				jobs.verify(t, p, token)
				if len(running) > 1 {
					running[i] = startProcess(t, w, configs[i])
				}
			}

			for _, p := range running {
				p.kill()
			}
		})
	}
}

// loaded is how many lines an import has.
const loaded = 6000

// work are jobs that are under way.
type work struct{ name, export, load, create string }

// beginWork begins jobs of each kind.
func beginWork(t *testing.T, p *process, token string, round int) work {
	t.Helper()
	name := fmt.Sprintf("r%dn", round)
	return work{
		name:   name,
		export: p.begin(t, "GET", "/$export?_type=Observation,Encounter", token, "", ""),
		load:   p.begin(t, "POST", "/$import", token, "application/fhir+ndjson", patients(name, loaded)),
		create: p.begin(t, "POST", "/Basic", token, "application/fhir+json",
			`{"resourceType":"Basic","code":{"text":"`+name+`"},"identifier":[{"value":"`+name+`"}]}`),
	}
}

func (w work) all() []string { return []string{w.export, w.load, w.create} }

// verify waits for the end of the jobs, and verifies what they have done.
func (w work) verify(t *testing.T, p *process, token string) {
	t.Helper()
	bearer := []string{"Authorization", "Bearer " + token}
	var m struct {
		Output []struct {
			Type, URL string
			Count     int
		}
	}
	must(t, json.Unmarshal([]byte(p.ended(t, w.export, token)), &m, json.MatchCaseInsensitiveNames(true)))
	if len(m.Output) == 0 {
		t.Error("nothing is exported")
	}
	for _, f := range m.Output {
		_, text := p.d.Get(f.URL, bearer...)
		_, total := p.d.Get(servertest.Base+"/"+f.Type+"?_summary=count", bearer...)
		if n := strings.Count(text, "\n"); n != f.Count || !strings.Contains(total, fmt.Sprintf(`"total":%d`, n)) {
			t.Errorf("%d lines of %+v, stored: %s", n, f, total)
		}
	}

	if body := p.ended(t, w.load, token); !strings.Contains(body, fmt.Sprintf(`"lines":%d,"refused":0`, loaded)) {
		t.Errorf("imported: %s", body)
	}
	_, total := p.d.Get(fmt.Sprintf("%s/Patient?_summary=count&_id=%s0,%[2]s%d", servertest.Base, w.name, loaded-1),
		bearer...)
	if !strings.Contains(total, `"total":2`) {
		t.Errorf("the first and the last line: %s", total)
	}
	_, history := p.d.Get(fmt.Sprintf("%s/Patient/%s%d/_history", servertest.Base, w.name, loaded/2), bearer...)
	if strings.Contains(history, `"versionId":"2"`) {
		t.Errorf("a line was stored twice: %s", history)
	}

	if body := p.ended(t, w.create, token); !strings.Contains(body, `"201 Created"`) {
		t.Errorf("created: %s", body)
	}
	_, found := p.d.Get(servertest.Base+"/Basic?_summary=count&identifier="+w.name, bearer...)
	if !strings.Contains(found, `"total":1`) {
		t.Errorf("created once? %s", found)
	}
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

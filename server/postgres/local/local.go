// Package local runs a PostgreSQL server of one's own in a directory, reached by a
// socket in it: for tests, benchmarks and the sandbox.
package local

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Server is a running server. Its data are in the directory that Start was given.
type Server struct {
	dir     string
	command *exec.Cmd
	ended   chan struct{} // closed when the process has ended
	log     *os.File
}

// Options are how a server is run.
type Options struct {
	// Port is that of the loopback interface; 0: the socket alone.
	Port int
	// Durable has commits wait for the disk, as a server for real data must.
	Durable bool
	// Settings are further ones of postgresql.conf, as NAME=VALUE.
	Settings []string
}

// Account is that of the server's superuser and first database.
const Account = "postgres"

// ErrNotInstalled is the error for a machine without PostgreSQL.
var ErrNotInstalled = errors.New("PostgreSQL is not installed: apt-get install postgresql")

// program returns the path of one of PostgreSQL's programs: of the latest version that
// Debian's packages have installed, else that of the PATH.
func program(name string) (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err == nil && len(found) > 0 {
		return slices.MaxFunc(found, func(a, b string) int {
			return version(a) - version(b)
		}), nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", ErrNotInstalled
	}
	return path, nil
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0: none
	return n
}

// account is that which runs the server.
type account struct{ uid, gid int }

// owner is the account that runs the server, which refuses to run as root; nil: the
// one that runs this program.
func owner() (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}

	found, err := user.Lookup(Account)
	if err != nil {
		return nil, fmt.Errorf("%w (PostgreSQL does not run as root: %w)", ErrNotInstalled, err)
	}
	uid, _ := strconv.Atoi(found.Uid) // numbers on this system
	gid, _ := strconv.Atoi(found.Gid)
	return &account{
		uid: uid,
		gid: gid,
	}, nil
}

// hidden reports whether other accounts cannot reach a directory, because one above it
// is closed to them.
func hidden(dir string) bool {
	for up := filepath.Dir(dir); ; up = filepath.Dir(up) {
		if st, err := os.Stat(up); err != nil || st.Mode().Perm()&0o001 == 0 {
			return true
		}
		if up == filepath.Dir(up) {
			return false
		}
	}
}

// Start runs a server on a directory, and makes its data there if there are none. The
// server ends with this program, or by Stop. The path of dir must be short: a socket's
// name has at most 107 bytes.
func Start(ctx context.Context, dir string, o Options) (*Server, error) {
	as, err := owner()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if as != nil {
		if err := os.Chown(dir, as.uid, as.gid); err != nil {
			return nil, err
		}
	}

	data := filepath.Join(dir, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err != nil {
		if err := initialize(ctx, data, as); err != nil {
			return nil, err
		}
	}

	s := &Server{
		dir:   dir,
		ended: make(chan struct{}),
	}
	if err := s.run(data, as, o); err != nil {
		return nil, err
	}
	if err := s.wait(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// initialize makes an empty cluster. It is elsewhere until it is whole, as one that was
// interrupted cannot be started.
func initialize(ctx context.Context, data string, as *account) error {
	path, err := program("initdb")
	if err != nil {
		return err
	}
	part := data + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}

	c := exec.CommandContext(ctx, path, "--no-sync", "--auth=trust", "--username="+Account,
		"--encoding=UTF8", "--locale=C.UTF-8", "--pgdata="+part)
	c.SysProcAttr = attributes(as, hidden(filepath.Dir(data)))
	c.Dir = "/" // data may be below a directory that its account cannot list
	if text, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, text)
	}
	return os.Rename(part, data)
}

// run starts the process.
func (s *Server) run(data string, as *account, o Options) error {
	path, err := program("postgres")
	if err != nil {
		return err
	}

	settings := []string{
		"listen_addresses=",
		"unix_socket_directories=" + s.dir,
		"unix_socket_permissions=0777", // the directory has the rights
		"max_connections=200",
		"timezone=UTC",
	}
	if o.Port != 0 {
		settings[0] = "listen_addresses=127.0.0.1"
		settings = append(settings, "port="+strconv.Itoa(o.Port))
	}
	if !o.Durable {
		settings = append(settings, "fsync=off", "synchronous_commit=off", "full_page_writes=off")
	}

	args := []string{"-D", data}
	for _, setting := range append(settings, o.Settings...) {
		args = append(args, "-c", setting)
	}
	s.command = exec.Command(path, args...)
	s.command.Dir = "/"
	s.command.SysProcAttr = attributes(as, hidden(s.dir))
	if s.log, err = os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	s.command.Stdout, s.command.Stderr = s.log, s.log

	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal comes when the thread that started the process ends
		err := s.command.Start()
		started <- err
		if err == nil {
			_ = s.command.Wait() // ended says all
		}
		close(s.ended)
	}()
	return <-started
}

// wait waits until the server accepts connections.
func (s *Server) wait(ctx context.Context) error {
	path, err := program("pg_isready")
	if err != nil {
		return err
	}

	for {
		if exec.CommandContext(ctx, path, "-q", "-h", s.dir, "-p", s.port(), "-U", Account).Run() == nil {
			return nil
		}
		select {
		case <-s.ended:
			text, _ := os.ReadFile(s.log.Name()) // what there is
			return fmt.Errorf("PostgreSQL ended at once: %s", text[max(0, len(text)-2000):])
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// port returns the number in the socket's name.
func (s *Server) port() string {
	for _, arg := range s.command.Args {
		if port, ok := strings.CutPrefix(arg, "port="); ok {
			return port
		}
	}
	return "5432"
}

// URL is that of a database of this server, by its socket.
func (s *Server) URL(database string) string {
	host := strings.ReplaceAll(url.QueryEscape(s.dir), "+", "%20") // a plus sign is no space here
	return "postgres://" + Account + "@/" + database + "?host=" + host + "&port=" + s.port()
}

// Ended is closed when the server's first process has ended.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// PID returns the number of the server's first process.
func (s *Server) PID() int { return s.command.Process.Pid }

// Kill ends the server as a crash would: its first process by SIGKILL, whose end the
// others notice. It returns when the first has ended.
func (s *Server) Kill() error {
	err := s.command.Process.Kill()
	<-s.ended
	return errors.Join(err, s.log.Close())
}

// Stop ends the server: it finishes no transaction, and waits for nobody.
func (s *Server) Stop() error {
	err := s.command.Process.Signal(syscall.SIGINT)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-s.ended
	return errors.Join(err, s.log.Close())
}

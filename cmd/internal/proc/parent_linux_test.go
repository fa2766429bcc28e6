package proc

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roleEnv names the part that this program plays when it starts itself again.
const roleEnv = "PROC_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "parent":
		playParent()
	case "child":
		playChild()
	default:
		os.Exit(m.Run())
	}
}

// playParent starts the child with its own output and stays until it is killed.
func playParent() {
	child := exec.Command(os.Args[1])
	child.Env = append(os.Environ(), roleEnv+"=child")
	child.Stdout = os.Stdout
	if err := child.Start(); err != nil {
		os.Exit(1)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// playChild prints its number, and then ends on SIGTERM only.
func playChild() {
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	EndWithParent()
	_, _ = os.Stdout.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	<-end
}

// A program whose parent is called go ends with it, and only then.
func TestEndsWithGo(t *testing.T) {
	for name, ends := range map[string]bool{"go": true, "sh": false} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		parent := filepath.Join(t.TempDir(), name)
		if err := link(self, parent); err != nil {
			t.Fatal(err)
		}

		cmd := exec.Command(parent, self)
		cmd.Env = append(os.Environ(), roleEnv+"=parent")
		if _, err := cmd.StdinPipe(); err != nil { // never closed: the parent waits on it
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}

		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewReader(out)
		line, err := said.ReadString('\n')
		pid, _ := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || pid <= 1 {
			t.Fatalf("the child said %q, %v", line, err)
		}

		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if _, err := cmd.Process.Wait(); err != nil {
			t.Fatal(err)
		}
		if !ends { // it lives: nobody but us ends it
			if err := syscall.Kill(pid, 0); err != nil {
				t.Errorf("below %s: %v", name, err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}

		gone := time.AfterFunc(time.Minute, func() {
			t.Errorf("below %s: it outlived its parent", name)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		})
		if _, err := io.Copy(io.Discard, said); err != nil { // until the child has closed it
			t.Error(err)
		}
		gone.Stop()
	}
}

// link gives the program at from another name; the name of the file that runs
// is what counts, so a symbolic link will not do.
func link(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o700)
}

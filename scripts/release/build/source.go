package build

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Source is what a release is made from.
type Source struct {
	Version string
	Commit  string    // a hash, "+changes" after it when files differ from the commit's
	Time    time.Time // of the commit, in UTC; every file of a release has it
}

// versions is the form of a version: that of Semantic Versioning with a "v".
var versions = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`)

// unknownTime is the time of files whose source is no checkout: the first that a zip
// archive can hold.
var unknownTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Describe describes the checkout at root. With no version given it is the tag of
// the commit, and without a tag v0.0.0 with the commit's time and hash. Source that is
// no checkout needs a version, and its commit is "unknown".
func Describe(ctx context.Context, root, version string) (Source, error) {
	if version != "" && !versions.MatchString(version) {
		return Source{}, fmt.Errorf("%q is not a version; write one as v1.2.3", version)
	}

	hash, seconds, err := head(ctx, root)
	if err != nil && version != "" {
		return Source{Version: version, Commit: "unknown", Time: unknownTime}, nil
	}
	if err != nil {
		return Source{}, err
	}
	s := Source{
		Version: version,
		Commit:  hash,
		Time:    time.Unix(seconds, 0).UTC(),
	}
	if s.Version == "" {
		s.Version = tag(ctx, root)
	}
	if s.Version == "" {
		s.Version = "v0.0.0-" + s.Time.Format("20060102150405") + "-" + hash[:12]
	}

	changed, err := git(ctx, root, "status", "--porcelain")
	if changed != "" {
		s.Commit += "+changes"
	}
	return s, err
}

// head returns the hash and the time of the commit that is checked out.
func head(ctx context.Context, root string) (hash string, seconds int64, err error) {
	out, err := git(ctx, root, "log", "-1", "--format=%H %ct")
	if err != nil {
		return "", 0, err
	}
	hash, at, _ := strings.Cut(out, " ")
	if len(hash) < 12 {
		return "", 0, fmt.Errorf("git names no commit: %q", out)
	}
	seconds, err = strconv.ParseInt(at, 10, 64)
	return hash, seconds, err
}

// tag returns the version that the commit is tagged with, or "".
func tag(ctx context.Context, root string) string {
	out, err := git(ctx, root, "describe", "--tags", "--exact-match", "--match", "v[0-9]*")
	if err != nil || !versions.MatchString(out) {
		return ""
	}
	return out
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	args = append([]string{"-C", root, "-c", "safe.directory=*"}, args...)
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(failed.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}

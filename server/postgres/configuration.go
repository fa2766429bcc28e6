package postgres

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fhirdest.example/certs/netname"
)

// names are those that a destination may have.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$`)

// Validate returns what is wrong with the configuration; nil when nothing is. It does
// not connect.
func (c Config) Validate() error {
	if _, err := c.parse("public"); err != nil {
		return err
	}
	if !names.MatchString(c.Name) {
		return hinted("set postgres.name to letters, digits and . _ -, at most 50",
			"the name of this destination on the database is %q", c.Name)
	}
	if c.Connections < 0 {
		return hinted("write 0 for the default, or a positive number",
			"the number of connections is %d", c.Connections)
	}
	if mode, remote := c.remote(); remote && mode == "" {
		return hinted("add ?sslmode=verify-full, and sslrootcert=FILE with the authority of its certificate",
			"the URL of the database has no sslmode: without one, TLS is not required")
	}
	return nil
}

// Warnings are about what the configuration permits, and should be looked at.
func (c Config) Warnings() []string {
	mode, remote := c.remote()
	switch {
	case !remote || mode == "verify-full" || mode == "":
		return nil
	case mode == "disable" || mode == "allow" || mode == "prefer":
		return []string{fmt.Sprintf("the database is reached without TLS, or without requiring it (sslmode=%s): "+
			"who is on the network reads patient data", mode)}
	}
	return []string{fmt.Sprintf("the certificate of the database is not compared with its name (sslmode=%s)", mode)}
}

// remote returns the sslmode of a database and reports whether it is on another machine.
func (c Config) remote() (mode string, remote bool) {
	settings, err := pgconn.ParseConfig(c.URL)
	u, parsed := url.Parse(c.URL)
	if err != nil || parsed != nil {
		return "", false
	}

	hosts := []string{settings.Host}
	for _, f := range settings.Fallbacks {
		hosts = append(hosts, f.Host)
	}
	for _, host := range hosts {
		remote = remote || !strings.HasPrefix(host, "/") && !netname.Loopback(host)
	}
	return u.Query().Get("sslmode"), remote
}

// Place returns where the database is, for people: without the account.
func (c Config) Place() string {
	settings, err := pgconn.ParseConfig(c.URL)
	if err != nil {
		return "the database"
	}
	if strings.HasPrefix(settings.Host, "/") {
		return settings.Host + ", database " + settings.Database
	}
	at := net.JoinHostPort(settings.Host, fmt.Sprint(settings.Port))
	return at + ", database " + settings.Database
}

// apart is how many connections a destination has beside those of its three stores: for
// its presence, the probe, the lists' notifications, and what one does for all.
const apart = 4

// ServerWarnings are about the settings of the server: that it accepts fewer connections
// than this destination and those that run on it may open, or that it may lose what it
// has confirmed. There are none when it cannot be asked.
func (c Config) ServerWarnings(ctx context.Context) (all []string) {
	settings, err := c.parse("public")
	if err != nil {
		return nil
	}
	conn, err := pgx.ConnectConfig(ctx, settings.ConnConfig)
	if err != nil {
		return nil
	}
	defer conn.Close(context.WithoutCancel(ctx))

	var accepted, others int
	var lossy []string
	err = conn.QueryRow(ctx, `select current_setting('max_connections')::int
			- current_setting('superuser_reserved_connections')::int,
		(select count(distinct application_name) from pg_stat_activity
			where datname = current_database() and application_name like 'destination %'
			and application_name <> 'destination ' || $1),
		(select coalesce(array_agg(name order by name), '{}') from pg_settings
			where name in ('fsync', 'synchronous_commit', 'full_page_writes') and setting = 'off')`,
		c.Name).Scan(&accepted, &others, &lossy)
	if err != nil {
		return nil
	}

	each := len(schemas)*cmp.Or(c.Connections, defaultConnections) + apart
	if need := (others + 1) * each; need > accepted {
		all = append(all, fmt.Sprintf("the database accepts %d connections, and %d destinations may open %d: "+
			"requests that find none get 503; raise max_connections, or lower postgres.connections", accepted,
			others+1, need))
	}
	for _, name := range lossy {
		all = append(all, fmt.Sprintf("%s is off at the database: a crash may lose what was confirmed, and used "+
			"JWTs are accepted again; set it to on", name))
	}
	return all
}

package bring

import (
	"strings"
)

// Program is one that gets a token and a resource.
type Program struct {
	ID       string // for links
	Title    string
	File     string
	Needs    string
	Install  string // command that gets what it needs beside the language; may be empty
	Commands string // that run it
	Tested   string // with what the tests run it
	Text     string
}

// languages are the programs without their text.
var languages = []Program{
	{
		ID:       "shell",
		Title:    "curl and OpenSSL",
		File:     "client.sh",
		Needs:    "Bash, curl and OpenSSL 1.1.1 or later.",
		Commands: "bash client.sh",
		Tested:   "Bash 5.2, OpenSSL 3.0",
	},
	{
		ID:       "javascript",
		Title:    "JavaScript",
		File:     "client.mjs",
		Needs:    "Node 20 or later, and jose.",
		Install:  "npm install jose",
		Commands: "NODE_EXTRA_CA_CERTS=tls.pem node client.mjs",
		Tested:   "Node 20, jose 6",
	},
	{
		ID:    "csharp",
		Title: "C#",
		File:  "Client.cs",
		Needs: ".NET 6 or later, or Mono 6. On .NET put it into a console project and trust tls.pem: " +
			"on Linux with SSL_CERT_FILE=tls.pem dotnet run, elsewhere in the system's store.",
		Commands: "cert-sync --user tls.pem\n" +
			"mcs -r:System.Net.Http -r:System.Runtime.Serialization Client.cs\n" +
			"mono Client.exe",
		Tested: "Mono 6.8, with RSA certificates; not run with .NET",
	},
	{
		ID:       "java",
		Title:    "Java",
		File:     "Client.java",
		Needs:    "Java 17 or later.",
		Commands: "java Client.java",
		Tested:   "OpenJDK 17",
	},
	{
		ID:       "python",
		Title:    "Python",
		File:     "client.py",
		Needs:    "Python 3.9 or later, with PyJWT and cryptography.",
		Install:  "pip install pyjwt cryptography",
		Commands: "python3 client.py",
		Tested:   "Python 3.11, PyJWT 2.6, cryptography 38",
	},
}

// programs returns the programs, filled in.
func (v *view) programs() ([]Program, error) {
	var all []Program
	for _, p := range languages {
		var out strings.Builder
		if err := programs.ExecuteTemplate(&out, p.File, v); err != nil {
			return nil, err
		}
		p.Text = out.String()
		all = append(all, p)
	}
	return all, nil
}

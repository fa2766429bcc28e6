package people

import "fhirdest.example/udap/trace"

// The decisions of this package.
var (
	checkRate = trace.NewCheck("signin.rate",
		"Passwords are tried no more often than a person would", "")
	checkPassword = trace.NewCheck("signin.password",
		"Username and password are those of a person who may sign in", "")
	checkSignedIn = trace.NewCheck("signin.session",
		"A new session is stored for the person", "")
	checkMethod = trace.NewCheck(
		"people.method",
		"The page has this method",
		"",
	)
	checkForm = trace.NewCheck("people.form",
		"A form comes from a page of this server that was shown in this browser", "")
	checkSession = trace.NewCheck("people.session",
		"The person is signed in, recently enough and where the client wants it", "")
	checkPatient = trace.NewCheck("consent.patient",
		"The patient is one whose data the person may share", "")
	checkShown = trace.NewCheck("consent.shown",
		"The client and its request are as the page showed them", "")
	checkChoice = trace.NewCheck("consent.choice",
		"What is agreed to is a part of what was asked for, with all that is required", "")
	checkRemembered = trace.NewCheck("consent.remembered",
		"The person has agreed to this before, and nothing has changed since", "")
	checkWithdrawn = trace.NewCheck("grants.withdrawn",
		"The grant is the person's own, and is taken back", "")
	checkStore = trace.NewCheck(
		"people.store",
		"The server can store and read its records",
		"",
	)
)

// Package api has the JSON interface of the lab, for programs: sessions are opened and
// removed, what arrived is read, faults are chosen, certificates issued, and reports
// made. The same handler serves the public site and the console; who knows the id of a
// session may do with it all that its pages can.
//
//	POST   api/sessions             opens a session
//	GET    api/sessions             all sessions (console)
//	GET    ID/api/session           the session
//	DELETE ID/api/session           removes it with all that it has
//	GET    ID/api/exchanges         ?from=1&n=100: what arrived, with what is found about it
//	GET    ID/api/exchanges/N       one of them
//	GET    ID/api/faults            deliberate faults, and what clients did about them
//	POST   ID/api/faults            {"faults":[...]}: chooses them; a fault of TLS has a base of its own
//	POST   ID/api/client            issues a certificate
//	GET    ID/api/report.json       report of the present run; .html, .xml (JUnit) as well
//	GET    ID/api/badge.svg         its result as a small picture
//	POST   ID/api/finish            ends the run; the next report is compared with its report
//
// A refusal is {"error": text}.
package api

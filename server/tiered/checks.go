package tiered

import "fhirdest.example/udap/trace"

// The checks of a trip, in the order in which they are made.
var (
	checkProvider = trace.NewCheck("tiered.provider",
		"The identity provider is one that the operator trusts, byte for byte: no other address is asked",
		"S1-238 S1-240 S1-241")
	checkMetadata = trace.NewCheck("tiered.metadata",
		"The provider's signed metadata is that of a member of its community, and its endpoints stand at its origin",
		"S1-238 S1-241")
	checkScopes = trace.NewCheck("tiered.scopes", "The provider supports openid and udap", "S1-235 S1-256")
	checkMember = trace.NewCheck("tiered.registered",
		"We are registered at the provider, with our certificate of its community", "S1-239 S1-251")
	checkBegun = trace.NewCheck("tiered.begun",
		"The person is sent to the provider with a state, a nonce and a challenge of our own",
		"S1-245 S1-246 S1-253 S1-254 S1-255")
	checkStore = trace.NewCheck("tiered.store", "The server can store and read what it must", "")

	checkMethod = trace.NewCheck("tiered.method", "Browsers come back by GET", "")
	checkTrip   = trace.NewCheck("tiered.state",
		"The answer belongs to a sign-in that this browser began, which was not answered before",
		"S1-270 S1-271 S1-272")
	checkAnswer = trace.NewCheck("tiered.answer", "The provider answered with a code", "S1-273")
	checkCode   = trace.NewCheck("tiered.code", "The code was exchanged, with our authentication token",
		"S1-279 S1-280 S1-281 S1-283")
	checkIDToken = trace.NewCheck("tiered.id_token", "The ID token is the provider's, about this sign-in",
		"S1-282 S1-289 S1-291")
	checkUser = trace.NewCheck("tiered.user", "The person is exactly one user here",
		"S1-292 S1-293 S1-294 S1-296")
	checkSignedIn = trace.NewCheck("tiered.signed_in",
		"The person is signed in and is asked for consent here", "S1-297")
)

package templates

import "sync"

// norwegian is what users read, in Norwegian Bokmål.
var norwegian = sync.OnceValue(func() *texts {
	t := *english() // what only developers read stays as it is
	t.lang = "nb"
	t.brandNote = "Sterk autentisering med telefonen din"
	t.requestID = "Forespørsel"
	t.skip = "Hopp til innholdet"
	t.continueTo = "Fortsett"
	t.tryAgain = "Prøv igjen"
	t.cancel = "Avbryt"
	t.checkNow = "Sjekk nå"
	t.noScript = "Denne siden ser etter nytt hvert 3. sekund."
	t.offline = "Ingen forbindelse med serveren. Prøver fortsatt …"
	t.timeLeft = "Tid igjen"
	t.endsSoon = "Mindre enn 30 sekunder igjen til å svare."
	t.interaction = interactionTexts{
		title:           "Logg inn",
		logIn:           "Logg inn",
		approve:         "Godkjenn",
		runBy:           "Drives av",
		from:            "Fra",
		on:              "på",
		unknownBrowser:  "en ukjent nettleser",
		someBrowser:     "en nettleser",
		at:              "Klokken",
		forUser:         "Bruker",
		identifierLabel: "Brukernavnet ditt",
		identifierHint:  "Navnet eller nummeret du er kjent under der.",
		identifierGo:    "Send til telefonen min",
		badName:         "Dette kan ikke være et brukernavn.",
		compare:         "Godkjenn bare hvis telefonen viser den samme forespørselen. Vi ber deg aldri om å godkjenne noe du ikke har startet selv.",
		changeUser:      "Bruk et annet brukernavn",
		backTo:          "Tilbake til",
		identify:        sentence{"Hvem er du?", "Oppgi brukernavnet ditt, så spør vi telefonen din."},
		waiting:         sentence{"Ta frem telefonen", "Åpne MobileID på telefonen og svar på forespørselen som venter der."},
		waitingMatch:    sentence{"Ta frem telefonen", "Åpne MobileID på telefonen og skriv inn dette tallet for å svare på forespørselen."},
		unfit:           sentence{"Denne telefonen ble ikke godtatt", "Tjenesten tar ikke imot en godkjenning fra en telefon i denne tilstanden eller på dette stedet, så ingenting ble delt. Prøv en annen telefon."},
		declined:        sentence{"Du sa nei", "Du avslo denne forespørselen på telefonen, så ingenting ble delt."},
		reported:        sentence{"Takk for at du sa fra", "Du meldte at dette ikke var deg, så vi stoppet det, og ingenting ble delt."},
		expired:         sentence{"Tiden gikk ut", "Ingen svarte på telefonen i tide, så ingenting ble delt."},
		locked:          sentence{"Ingen telefon kan svare", "Etter for mange mislykkede forsøk kan ingen av telefonene dine svare; be om hjelp der du logger inn."},
		blocked:         sentence{"Telefonen din må vente", "Etter for mange mislykkede forsøk kan telefonen din ikke svare akkurat nå."},
		blockedUntil:    "Den kan svare igjen klokken",
		declinedUntil:   "Telefonen din kan spørres igjen klokken",
		noDevice:        sentence{"Ingen telefon er registrert", "Det finnes ingen telefon å spørre ennå; registrer en der du logger inn."},
		unavailable:     sentence{"Prøv igjen", "Noe gikk galt hos oss før svaret ditt kom frem, så ingenting ble delt."},
		cancelled:       sentence{"Avbrutt", "Denne forespørselen ble avbrutt i nettleseren, så ingenting ble delt."},
		superseded:      sentence{"Erstattet av en nyere forespørsel", "Den samme applikasjonen spurte telefonen din på nytt fra et annet sted, så denne forespørselen gjelder ikke lenger."},
		done:            sentence{"Du er bekreftet", "Telefonen din sa ja, og vi sender deg tilbake nå."},
	}
	t.consent = consentTexts{
		title: "Dele med denne applikasjonen?",
		body:  "Den ber om lov til å:",
		other: "Bruke",
		allow: "Tillat",
		deny:  "Ikke tillat",
		later: "Vi husker hva du tillater, og du kan få det trukket tilbake der du logger inn.",
		scopes: map[string]string{
			"openid":         "Vite at det er deg, ved et nummer den kan kjenne deg igjen på",
			"profile":        "Se navnet og profilen din",
			"email":          "Se e-postadressen din",
			"address":        "Se postadressen din",
			"phone":          "Se telefonnummeret ditt",
			"offline_access": "Beholde denne tilgangen når du ikke er der",
		},
	}
	t.logout = logoutTexts{
		title: "Logge ut?",
		body:  "Noen sendte nettleseren din hit for å logge deg ut.",
		asks:  "vil logge deg ut her.",
		leave: "Logg ut",
		stay:  "Forbli innlogget",
	}
	t.loggedOut = loggedOutTexts{
		title: "Du er logget ut",
		body:  "Denne nettleseren er ikke lenger logget inn her.",
		whole: "Nettsteder du har besøkt, kan holde deg innlogget til du logger ut der også.",
	}
	return &t
})

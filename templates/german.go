package templates

import "sync"

// german is what users read, in German.
var german = sync.OnceValue(func() *texts {
	t := *english() // what only developers read stays as it is
	t.lang = "de"
	t.brandNote = "Starke Authentifizierung mit Ihrem Handy"
	t.requestID = "Anfrage"
	t.skip = "Zum Inhalt springen"
	t.continueTo = "Weiter"
	t.tryAgain = "Erneut versuchen"
	t.cancel = "Abbrechen"
	t.checkNow = "Jetzt prüfen"
	t.noScript = "Diese Seite sieht alle 3 Sekunden nach, ob es etwas Neues gibt."
	t.offline = "Keine Verbindung zum Server. Wir versuchen es weiter …"
	t.timeLeft = "Verbleibende Zeit"
	t.endsSoon = "Weniger als 30 Sekunden, um zu antworten."
	t.interaction = interactionTexts{
		title:           "Anmelden",
		logIn:           "Anmelden",
		approve:         "Freigeben",
		runBy:           "Betrieben von",
		from:            "Von",
		on:              "unter",
		unknownBrowser:  "einem unbekannten Browser",
		someBrowser:     "einem Browser",
		at:              "Uhrzeit",
		forUser:         "Für",
		identifierLabel: "Ihr Benutzername",
		identifierHint:  "Der Name oder die Nummer, unter der man Sie dort kennt.",
		identifierGo:    "An mein Handy senden",
		badName:         "Das kann kein Benutzername sein.",
		compare:         "Stimmen Sie nur zu, wenn Ihr Handy dieselbe Anfrage zeigt. Wir bitten Sie nie, einer Sache zuzustimmen, die Sie nicht selbst begonnen haben.",
		changeUser:      "Anderen Benutzernamen verwenden",
		backTo:          "Zurück zu",
		identify:        sentence{"Wer sind Sie?", "Nennen Sie uns Ihren Benutzernamen, dann fragen wir Ihr Handy."},
		waiting:         sentence{"Nehmen Sie Ihr Handy", "Öffnen Sie MobileID auf Ihrem Handy und beantworten Sie die Anfrage, die dort wartet."},
		waitingMatch:    sentence{"Nehmen Sie Ihr Handy", "Öffnen Sie MobileID auf Ihrem Handy und geben Sie diese Zahl ein, um die Anfrage zu beantworten."},
		unfit:           sentence{"Dieses Handy wurde nicht akzeptiert", "Der Dienst nimmt keine Zustimmung von einem Handy in seinem jetzigen Zustand oder an seinem Ort an; es wurde nichts weitergegeben. Bitte versuchen Sie es mit einem anderen Handy."},
		declined:        sentence{"Sie haben abgelehnt", "Sie haben diese Anfrage auf Ihrem Handy abgelehnt; es wurde nichts weitergegeben."},
		reported:        sentence{"Danke für Ihre Meldung", "Sie haben gemeldet, dass die Anfrage nicht von Ihnen kam; wir haben sie gestoppt, und es wurde nichts weitergegeben."},
		expired:         sentence{"Die Zeit ist abgelaufen", "Auf dem Handy hat niemand rechtzeitig geantwortet; es wurde nichts weitergegeben."},
		locked:          sentence{"Kein Handy kann antworten", "Nach zu vielen Fehlversuchen kann keines Ihrer Handys antworten; bitte fragen Sie dort um Hilfe, wo Sie sich anmelden."},
		blocked:         sentence{"Ihr Handy muss warten", "Nach zu vielen Fehlversuchen kann Ihr Handy zurzeit nicht antworten."},
		blockedUntil:    "Es kann wieder antworten um",
		declinedUntil:   "Ihr Handy kann wieder gefragt werden um",
		noDevice:        sentence{"Kein Handy registriert", "Es gibt noch kein Handy, das wir fragen können; bitte registrieren Sie eines dort, wo Sie sich anmelden."},
		unavailable:     sentence{"Bitte versuchen Sie es erneut", "Bei uns ist etwas schiefgegangen, bevor Ihre Antwort ankam; es wurde nichts weitergegeben."},
		cancelled:       sentence{"Abgebrochen", "Diese Anfrage wurde im Browser abgebrochen; es wurde nichts weitergegeben."},
		superseded:      sentence{"Durch eine neuere Anfrage ersetzt", "Dieselbe Anwendung hat Ihr Handy von anderswo erneut gefragt; diese Anfrage gilt nicht mehr."},
		done:            sentence{"Sie sind bestätigt", "Ihr Handy hat zugestimmt, und wir bringen Sie jetzt zurück."},
	}
	t.consent = consentTexts{
		title: "Dieser Anwendung Zugriff geben?",
		body:  "Sie möchte:",
		other: "Verwenden:",
		allow: "Erlauben",
		deny:  "Nicht erlauben",
		later: "Wir merken uns, was Sie erlauben. Dort, wo Sie sich anmelden, können Sie es zurücknehmen lassen.",
		scopes: map[string]string{
			"openid":         "Wissen, dass Sie es sind, anhand einer Nummer, an der sie Sie wiedererkennt",
			"profile":        "Ihren Namen und Ihr Profil sehen",
			"email":          "Ihre E-Mail-Adresse sehen",
			"address":        "Ihre Postanschrift sehen",
			"phone":          "Ihre Telefonnummer sehen",
			"offline_access": "Diesen Zugriff behalten, auch wenn Sie nicht da sind",
		},
	}
	t.logout = logoutTexts{
		title: "Abmelden?",
		body:  "Jemand hat Ihren Browser hierher geschickt, um Sie abzumelden.",
		asks:  "möchte Sie hier abmelden.",
		leave: "Abmelden",
		stay:  "Angemeldet bleiben",
	}
	t.loggedOut = loggedOutTexts{
		title: "Sie sind abgemeldet",
		body:  "Dieser Browser ist hier nicht mehr angemeldet.",
		whole: "Auf Websites, die Sie besucht haben, sind Sie vielleicht noch angemeldet, bis Sie sich auch dort abmelden.",
	}
	return &t
})

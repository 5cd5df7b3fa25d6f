package templates

// texts are the words of the pages in one language. A further language is a
// further value of this type and a case in speak; nothing else changes. What users
// read (interaction, consent, logout, loggedOut and what stands on every page) is
// there in each language; what only developers and operators read is English, and
// such pages are asked for in English.
type texts struct {
	lang string

	brand, brandNote, requestID, skip, copy, copied string
	continueTo, tryAgain, cancel, checkNow          string
	noScript, offline, timeLeft, endsSoon           string

	interaction interactionTexts
	demo        demoTexts
	register    registerTexts
	index       indexTexts
	fault       faultTexts
	consent     consentTexts
	logout      logoutTexts
	loggedOut   loggedOutTexts
	formPost    formPostTexts
	shop        shopTexts
	verify      verifyTexts
}

// sentence is a heading and the one plain sentence under it.
type sentence struct{ head, body string }

type interactionTexts struct {
	title, logIn, approve, runBy, from, at, forUser     string
	on, unknownBrowser, someBrowser, badName            string
	identifierLabel, identifierHint, identifierGo       string
	compare, changeUser, backTo                         string
	identify, waiting, waitingMatch, declined, reported sentence
	expired, locked, blocked, noDevice, unavailable     sentence
	cancelled, unfit, superseded, done                  sentence
	blockedUntil, declinedUntil                         string
}

type demoTexts struct {
	title, intro, forUser, begin, again                string
	scan, qrAlt, byLink, byCode, locator, code         string
	run, runNote, compareNote, same, different, device string
	logIn                                              string
	start, waiting, compare, active                    sentence
	refused, expired, unavailable                      sentence
}

type registerTexts struct {
	title, intro, run, runNote, next, step1, step2, step3, safety string
	none, bad, noScript                                           sentence
}

type indexTexts struct {
	title, intro, issuer, ways string
	discovery, shop, demo      sentence
}

type faultTexts struct{ title, message, detail, back, status string }

type consentTexts struct {
	title, body, other, allow, deny, later string
	scopes                                 map[string]string
}

type logoutTexts struct{ title, body, asks, leave, stay string }

type loggedOutTexts struct{ title, body, whole string }

type formPostTexts struct{ title, body, button string }

type shopTexts struct {
	logIn, logOut, account, backchannel, home, loggedIn string
	headline, lead, notice, whatIsThis, noPhone, foot   string
	accountTitle, accountLead, claim, value, meaning    string
	who, acr, amr, authTime, txn, issuer                string
	whoNote, acrNote, amrNote, authTimeNote, txnNote    string
	issuerNote, otherNote                               string
	ciba                                                sentence
}

type verifyTexts struct {
	title, intro, evidence, file, otherKeys, keys, keysNote string
	check, privacy, busy, badHead, part, elsewhere, shown   string
	none, good, noScript                                    sentence
	whySignature, whyKey, whyAnswer, whyHash, whyForm       string
	whyKeys, whyUnreachable, whyInsecure, whyOther          string
	who, when, local, factors, server, merchant, client     string
	device, key, attestation, operation, signer, hash       string
	content, findings, place                                string
	factorNames                                             []Param // by the values of sca
}

// speak returns the words for a language tag.
func speak(lang string) *texts {
	switch lang {
	case "nb":
		return norwegian()
	case "de":
		return german()
	case "es":
		return spanish()
	default:
		return english()
	}
}

package templates

import "sync"

// spanish is what users read, in Spanish.
var spanish = sync.OnceValue(func() *texts {
	t := *english() // what only developers read stays as it is
	t.lang = "es"
	t.brandNote = "Autenticación reforzada con su teléfono"
	t.requestID = "Solicitud"
	t.skip = "Ir al contenido"
	t.continueTo = "Continuar"
	t.tryAgain = "Intentar de nuevo"
	t.cancel = "Cancelar"
	t.checkNow = "Comprobar ahora"
	t.noScript = "Esta página busca novedades cada 3 segundos."
	t.offline = "Sin conexión con el servidor. Seguimos intentándolo…"
	t.timeLeft = "Tiempo restante"
	t.endsSoon = "Quedan menos de 30 segundos para responder."
	t.interaction = interactionTexts{
		title:           "Iniciar sesión",
		logIn:           "Iniciar sesión",
		approve:         "Autorizar",
		runBy:           "Gestionado por",
		from:            "Desde",
		on:              "en",
		unknownBrowser:  "un navegador desconocido",
		someBrowser:     "un navegador",
		at:              "Hora",
		forUser:         "Para",
		identifierLabel: "Su nombre de usuario",
		identifierHint:  "El nombre o número con el que le conocen allí.",
		identifierGo:    "Enviar a mi teléfono",
		badName:         "Esto no puede ser un nombre de usuario.",
		compare:         "Apruebe solo si su teléfono muestra la misma solicitud. Nunca le pedimos que apruebe algo que usted no haya iniciado.",
		changeUser:      "Usar otro nombre de usuario",
		backTo:          "Volver a",
		identify:        sentence{"¿Quién es usted?", "Indique su nombre de usuario y preguntaremos a su teléfono."},
		waiting:         sentence{"Abra su teléfono", "Abra MobileID en su teléfono y responda a la solicitud que le espera allí."},
		waitingMatch:    sentence{"Abra su teléfono", "Abra MobileID en su teléfono y escriba este número para responder a la solicitud."},
		unfit:           sentence{"No se ha aceptado este teléfono", "El servicio no admite una aprobación desde un teléfono en su estado o lugar actual, así que no se ha compartido nada. Pruebe con otro teléfono."},
		declined:        sentence{"Ha dicho que no", "Ha rechazado esta solicitud en su teléfono, así que no se ha compartido nada."},
		reported:        sentence{"Gracias por avisarnos", "Ha indicado que no era usted, así que la hemos detenido y no se ha compartido nada."},
		expired:         sentence{"Se acabó el tiempo", "Nadie respondió a tiempo en el teléfono, así que no se ha compartido nada."},
		locked:          sentence{"Ningún teléfono puede responder", "Tras demasiados intentos fallidos, ninguno de sus teléfonos puede responder; pida ayuda donde inicia sesión."},
		blocked:         sentence{"Su teléfono tiene que esperar", "Tras demasiados intentos fallidos, su teléfono no puede responder por ahora."},
		blockedUntil:    "Podrá responder de nuevo a las",
		declinedUntil:   "Se podrá preguntar de nuevo a su teléfono a las",
		noDevice:        sentence{"No hay ningún teléfono registrado", "Todavía no hay un teléfono al que preguntar; registre uno donde inicia sesión."},
		unavailable:     sentence{"Inténtelo de nuevo", "Algo falló por nuestra parte antes de que llegara su respuesta, así que no se ha compartido nada."},
		cancelled:       sentence{"Cancelada", "Esta solicitud se canceló en el navegador, así que no se ha compartido nada."},
		superseded:      sentence{"Sustituida por una solicitud más reciente", "La misma aplicación volvió a preguntar a su teléfono desde otro lugar, así que esta solicitud ya no cuenta."},
		done:            sentence{"Identidad confirmada", "Su teléfono ha dicho que sí; le llevamos de vuelta."},
	}
	t.consent = consentTexts{
		title: "¿Compartir con esta aplicación?",
		body:  "Pide permiso para:",
		other: "Usar",
		allow: "Permitir",
		deny:  "No permitir",
		later: "Recordamos lo que permite; puede pedir que se retire donde inicia sesión.",
		scopes: map[string]string{
			"openid":         "Saber que es usted, por un número con el que pueda reconocerle",
			"profile":        "Ver su nombre y su perfil",
			"email":          "Ver su dirección de correo electrónico",
			"address":        "Ver su dirección postal",
			"phone":          "Ver su número de teléfono",
			"offline_access": "Conservar este acceso cuando usted no esté",
		},
	}
	t.logout = logoutTexts{
		title: "¿Cerrar sesión?",
		body:  "Alguien ha enviado su navegador aquí para cerrar su sesión.",
		asks:  "quiere cerrar su sesión aquí.",
		leave: "Cerrar sesión",
		stay:  "Mantener la sesión",
	}
	t.loggedOut = loggedOutTexts{
		title: "Ha cerrado la sesión",
		body:  "Este navegador ya no tiene una sesión abierta aquí.",
		whole: "Los sitios que ha visitado pueden mantener su sesión hasta que la cierre también allí.",
	}
	return &t
})

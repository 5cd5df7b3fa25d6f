// Sends the authorization response on (OAuth 2.0 Form Post Response Mode). The
// button of the form does the same without JavaScript.

document.getElementById("formpost")?.submit();

// Shows the API's document. Everything comes from this host, and "Try it out" sends nowhere else: the
// Content-Security-Policy of the page holds the browser to that.
window.addEventListener('DOMContentLoaded', () => {
  SwaggerUIBundle({
    url: 'openapi.json',
    dom_id: '#api',
    deepLinking: true,
    // The validator's badge would tell another host which API this is.
    validatorUrl: null,
    // A credential typed into the page is forgotten with it.
    persistAuthorization: false,
  });
});

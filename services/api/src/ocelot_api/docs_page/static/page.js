// Starts swagger-ui. In a file of its own, because the page's policy forbids inline scripts.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // The default sends the document's address to a validator on another origin.
  validatorUrl: null,
  // A link could otherwise make the page load somebody else's document.
  queryConfigEnabled: false,
  persistAuthorization: false,
});

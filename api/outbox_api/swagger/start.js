// Swagger UI on the API's own document. `validatorUrl: null`: nothing is sent to anybody else.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });

// Serves oidc-provider as a client credentials server: node peer.mjs '{"port": …, "audience": …, "clients": […], "algorithm": …}'
import { generateKeyPairSync } from "node:crypto";
import Provider, { errors } from "oidc-provider";

const { port, audience, clients, algorithm } = JSON.parse(process.argv[2]);
const { privateKey } =
  algorithm === "RS256"
    ? generateKeyPairSync("rsa", { modulusLength: 2048 })
    : generateKeyPairSync("ec", { namedCurve: "P-256" });
const api = {
  scope: "applications:read events:read",
  audience,
  accessTokenTTL: 3600,
  accessTokenFormat: "jwt",
  jwt: { sign: { alg: algorithm } },
};

const provider = new Provider(`http://127.0.0.1:${port}`, {
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: algorithm, kid: "peer" }] },
  clients,
  clientAuthMethods: ["client_secret_basic", "client_secret_post", "private_key_jwt"],
  scopes: ["applications:read", "events:read"],
  responseTypes: ["none"],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    dPoP: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audience,
      getResourceServerInfo: (ctx, name) => {
        if (name !== audience) throw new errors.InvalidTarget();
        return api;
      },
    },
  },
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));

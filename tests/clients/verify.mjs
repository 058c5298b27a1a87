// Verifies tokens with jose, by the published keys: node verify.mjs URL AUDIENCE TOKEN…
import { createRemoteJWKSet, jwtVerify } from "jose";

const [issuer, audience, ...tokens] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks.json`));
for (const token of tokens) {
  const { payload } = await jwtVerify(token, keys, { issuer, audience, typ: "at+jwt" });
  console.log(payload.client_id, payload.scope);
}

// Prints a token that @badgateway/oauth2-client obtains: by the metadata, introspected and revoked.
import { OAuth2Client } from "@badgateway/oauth2-client";

const [server, clientId, clientSecret] = process.argv.slice(2);
for (const authenticationMethod of ["client_secret_basic", "client_secret_post"]) {
  const client = new OAuth2Client({ server, clientId, clientSecret, authenticationMethod });
  const token = await client.clientCredentials({ scope: ["events:read"] });
  const found = await client.introspect(token);
  if (!found.active || found.client_id !== clientId) throw new Error("introspection");
  const other = await client.clientCredentials();
  await client.revoke(other);
  if ((await client.introspect(other)).active) throw new Error("revocation");
  console.log(token.accessToken);
}

// Prints a token that simple-oauth2 obtains: node simple_oauth2.mjs URL CLIENT_ID CLIENT_SECRET
import { ClientCredentials } from "simple-oauth2";

const [url, id, secret] = process.argv.slice(2);
for (const authorizationMethod of ["header", "body"]) {
  const client = new ClientCredentials({
    client: { id, secret },
    auth: { tokenHost: url, tokenPath: "/oauth2-token" },
    options: { authorizationMethod },
  });
  const { token } = await client.getToken({ scope: "events:read" });
  console.log(token.access_token);
}

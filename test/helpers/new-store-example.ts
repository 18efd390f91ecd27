import { fromRolesAnywhere, type Signer } from '../../src/index.ts';

export const signer: Signer = {
  async sign(message, hash = 'SHA-256') {
    const url = `https://signer.example.com/keys/web?hash=${hash}`;
    const answer = await fetch(url, { method: 'POST', body: new Uint8Array(message) });
    if (!answer.ok) throw new Error(`the signing service answered ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  },
};

export const credentials = fromRolesAnywhere({
  signer,
  certificate: '/etc/aws/web.pem',
  chain: '/etc/aws/intermediates.pem',
  trustAnchorArn: 'arn:aws:rolesanywhere:eu-central-1:111122223333:trust-anchor/11111111-2222-3333-4444-555555555555',
  profileArn: 'arn:aws:rolesanywhere:eu-central-1:111122223333:profile/66666666-7777-8888-9999-000000000000',
  roleArn: 'arn:aws:iam::111122223333:role/web',
});

import { HoldfastError } from '../../errors.ts';
import { listing } from './address.ts';
import { CK } from './cryptoki.ts';
import { byName, findObjects } from './objects.ts';
import { askedFor, type Connection, nameOfToken, uriOnToken } from './token.ts';

/**
 * Before a PIN: is this the token that the user means? A URI that does not say so means whatever is plugged in, and a
 * stranger's card would lose a try to our PIN.
 *
 * @throws {HoldfastError} `ERR_TOKEN_AMBIGUOUS`
 */
export function checkNamed(connection: Connection): void {
  const { address, token } = connection;
  const { token: label, serial, model, manufacturer, slotId } = address;
  if ([label, serial, model, manufacturer, slotId].some((name) => name !== undefined)) return;
  if (showsObject(connection)) return;
  throw new HoldfastError('ERR_TOKEN_AMBIGUOUS', `${address.text} does not say which token gets the PIN`, {
    hint: listing(`if ${nameOfToken(token)} is meant, use this`, [uriOnToken(address, token, askedFor(address))]),
  });
}

/** Without a login, by its label: the same few identifiers are on every card. */
function showsObject(connection: Connection): boolean {
  const { id, object: label } = connection.address;
  if (!label || label.length === 0) return false;
  return [CK.CKO_CERTIFICATE, CK.CKO_PUBLIC_KEY].some((value) => {
    const template = [{ type: CK.CKA_CLASS, value }, ...byName({ id, label })];
    return findObjects(connection, template).length > 0;
  });
}

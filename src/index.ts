// The front door: everything a Node service or a wrapping CLI needs. Wings and stores have doors of their own
// (`holdfast/local`, `holdfast/stores/pkcs11`, ...).
export type { ArnOptions } from './arn.ts';
export { type Certificate, type KeyType, parseCertificate, readCertificates } from './certificate.ts';
export { buildChain, CHAIN_LIMIT } from './chain.ts';
export { type CheckedSession, checkSession, type SessionOptions } from './check-session.ts';
export { type EndpointOptions, endpointUrl } from './endpoint.ts';
export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorDetails,
  HoldfastError,
  SecretError,
  type ServiceDetails,
  ServiceError,
} from './errors.ts';
export type { HttpAnswer, Send, SendOptions } from './http.ts';
export { type CallerSigner, type Identity, type IdentityOptions, withIdentity } from './identity.ts';
export { fromRolesAnywhere, getCredentials, type RolesAnywhereInit, type RolesAnywhereProvider } from './provider.ts';
export type { HttpProxy, NamedProxy } from './proxy-choice.ts';
export {
  askPerson,
  Secret,
  type SecretFunction,
  type SecretOrigin,
  type SecretRequest,
  type SecretSource,
  type SecretValue,
  secretFromFile,
} from './secret.ts';
export { createSession } from './session.ts';
export type { Credentials } from './session-answer.ts';
export type { HashName, Signer } from './signer.ts';
export {
  canonicalRequest,
  type HttpRequest,
  type SigningIdentity,
  type SigningScope,
  signRequest,
  stringToSign,
} from './sigv4.ts';
export { openKey, storeOf } from './stores/index.ts';
export type {
  CreateOptions,
  KeyInfo,
  KeySpec,
  KeyStore,
  ListedCertificate,
  ListedKey,
  ListedToken,
  ListOptions,
  Notice,
  OpenKey,
  OpenOptions,
} from './stores/store.ts';
export { formatKeyUri, type KeyUri, parseKeyUri } from './uri.ts';

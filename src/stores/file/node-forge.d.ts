/** What is used of node-forge, file by file: the whole package takes twenty times as long to load. */

declare module 'node-forge/lib/asn1.js' {
  interface Asn1 {
    fromDer(bytes: string, options: { decodeBitStrings: boolean }): object;
    toDer(object: object): { getBytes(): string };
  }
  const asn1: Asn1;
  export default asn1;
}

declare module 'node-forge/lib/rc2.js' {
  interface Cipher {
    readonly output: { getBytes(): string };
    start(iv: string): void;
    update(input: object): void;
    /** @returns false when the padding is wrong */
    finish(): boolean;
  }
  const rc2: { createDecryptionCipher(key: string, bits: number): Cipher };
  export default rc2;
}

declare module 'node-forge/lib/util.js' {
  const util: { createBuffer(bytes: string): object };
  export default util;
}

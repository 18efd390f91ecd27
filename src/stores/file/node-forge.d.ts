/** What is used of node-forge, file by file: the whole package takes twenty times as long to load. */

declare module 'node-forge/lib/asn1.js' {
  export interface Asn1Node {
    /** Bits 7 and 8 of the tag. */
    readonly tagClass: number;
    /** Bits 1 to 5 of the tag. */
    readonly type: number;
    constructed: boolean;
    /** Has the nodes below it as its value. */
    composed: boolean;
    /** Octets, one a character; a BMPString as text. */
    value: string | Asn1Node[];
  }
  interface Asn1 {
    fromDer(bytes: string, options: { decodeBitStrings: boolean }): Asn1Node;
    toDer(node: Asn1Node): { getBytes(): string };
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

/** Put in by the bundler, from package.json. */
declare const TAPFERRY_VERSION: string

export const VERSION = TAPFERRY_VERSION

/**
 * Which addon this platform needs, and what to say when it is not there. Pure but for `platformTriple`.
 */

import { TapferryError } from './errors.ts'

const PACKAGE_PREFIX = '@tapferry/binding-'

/** What the package.json beside the bundle tells: the published one names the platform packages there are. */
export interface InstalledManifest {
  version?: string
  optionalDependencies?: Readonly<Record<string, string>>
  /** Only in a checkout. */
  devDependencies?: Readonly<Record<string, string>>
}

/** Platform, architecture and C library, as in the names of the platform packages: `linux-x64-gnu`. */
export function platformTriple(): string {
  return `${process.platform}-${process.arch}-${isGlibc() ? 'gnu' : 'musl'}`
}

function isGlibc(): boolean {
  const report = process.report
  // Without this the report resolves the names of all peers, which may take seconds.
  Object.assign(report, { excludeNetwork: true })
  const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime !== undefined
}

export function addonPackage(triple: string): string {
  return PACKAGE_PREFIX + triple
}

/** ADDON_MISSING, with the remedy that fits: a package left out, a platform without one, or a checkout. */
export function addonMissing(triple: string, manifest: InstalledManifest, cause?: unknown): TapferryError {
  const name = addonPackage(triple)
  const failure = (why: string, hint: string) =>
    new TapferryError('ADDON_MISSING', `no native addon for ${triple}: ${why}`, hint, { cause })
  if (manifest.devDependencies !== undefined) {
    return failure('this checkout has not built it', 'build it: npm ci && npm run build')
  }
  const published = manifest.optionalDependencies
  if (published !== undefined && published[name] === undefined) {
    const triples = Object.keys(published).map(other => other.slice(PACKAGE_PREFIX.length))
    return failure(
      `there is no package ${name}`,
      `${unsupported(triple, triples)}\nOr build the addon from source on this machine, and name it in NAPI_RS_NATIVE_LIBRARY_PATH.`,
    )
  }
  const version = published?.[name] ?? manifest.version
  return failure(
    `package ${name} is not installed`,
    [
      `install it beside tapferry: npm install ${name}${version === undefined ? '' : `@${version}`}`,
      'npm leaves it out with --omit=optional or --no-optional (see: npm config get omit), and when node_modules',
      'or package-lock.json come from another platform: remove both, and install again.',
    ].join('\n'),
  )
}

/** What of a platform is not supported, and what is. */
function unsupported(triple: string, published: readonly string[]): string {
  const [os = '', arch = '', libc = ''] = triple.split('-')
  const rest = published.map(other => other.split('-'))
  const there = `the packages are for ${published.join(', ')}`
  if (os !== 'linux') return `tapferry works on Linux only; ${there}`
  if (!rest.some(([, otherArch]) => otherArch === arch)) return `not built for ${arch}; ${there}`
  if (libc === 'musl') return `not built for musl (Alpine and its like): use a system with glibc; ${there}`
  return there
}

/** ADDON_BROKEN: there is an addon, and it does not load. */
export function addonBroken(what: string, cause: unknown): TapferryError {
  const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause)
  return new TapferryError(
    'ADDON_BROKEN',
    `the native addon ${what} does not load on ${platformTriple()}: ${why}`,
    /GLIBC_/.test(why)
      ? 'this system is older than the one that it was built for: build it on this machine, npm run build:native'
      : 'build it on this machine: npm run build:native',
    { cause },
  )
}

/** ADDON_BROKEN: only one of the two packages was brought up to date. */
export function addonOfOtherVersion(name: string, version: string, wanted: string): TapferryError {
  return new TapferryError(
    'ADDON_BROKEN',
    `package ${name} is version ${version}, and tapferry is ${wanted}`,
    `bring it to the same version: npm install ${name}@${wanted}`,
  )
}

import test from 'ava'
import { addonBroken, addonMissing, addonOfOtherVersion, platformTriple } from '../../ts/addon.ts'

/** As published, for two platforms. */
const PUBLISHED = {
  version: '1.2.3',
  optionalDependencies: {
    '@tapferry/binding-linux-x64-gnu': '1.2.3',
    '@tapferry/binding-linux-arm64-gnu': '1.2.3',
  },
}

test('a platform package that was left out is named with its version, and so is what leaves it out', t => {
  const { code, message, hint } = addonMissing('linux-x64-gnu', PUBLISHED)
  t.is(code, 'ADDON_MISSING')
  t.is(message, 'no native addon for linux-x64-gnu: package @tapferry/binding-linux-x64-gnu is not installed')
  t.regex(hint ?? '', /npm install @tapferry\/binding-linux-x64-gnu@1\.2\.3$/m)
  t.regex(hint ?? '', /--omit=optional/)
  t.regex(hint ?? '', /come from another platform/)
})

const unsupported = [
  ['linux-x64-musl', /^not built for musl \(Alpine and its like\): use a system with glibc/],
  ['linux-riscv64-gnu', /^not built for riscv64/],
  ['linux-arm-musl', /^not built for arm;/],
  ['darwin-arm64-musl', /^tapferry works on Linux only/],
] as const

for (const [triple, why] of unsupported) {
  test(`${triple} has no package, and the ones there are are named`, t => {
    const { code, message, hint } = addonMissing(triple, PUBLISHED)
    t.is(code, 'ADDON_MISSING')
    t.is(message, `no native addon for ${triple}: there is no package @tapferry/binding-${triple}`)
    t.regex(hint ?? '', why)
    t.regex(hint ?? '', /the packages are for linux-x64-gnu, linux-arm64-gnu$/m)
    t.regex(hint ?? '', /NAPI_RS_NATIVE_LIBRARY_PATH/)
  })
}

test('a checkout is told to build', t => {
  const { message, hint } = addonMissing('linux-x64-gnu', { version: '1.2.3', devDependencies: {} })
  t.is(message, 'no native addon for linux-x64-gnu: this checkout has not built it')
  t.is(hint, 'build it: npm ci && npm run build')
})

test('an incomplete copy without a package.json is told as much as can be known', t => {
  const { message, hint } = addonMissing('linux-x64-gnu', {})
  t.regex(message, /package @tapferry\/binding-linux-x64-gnu is not installed$/)
  t.regex(hint ?? '', /npm install @tapferry\/binding-linux-x64-gnu$/m)
})

test('a platform package of another version is no addon', t => {
  const { code, message, hint } = addonOfOtherVersion('@tapferry/binding-linux-x64-gnu', '1.2.2', '1.2.3')
  t.is(code, 'ADDON_BROKEN')
  t.is(message, 'package @tapferry/binding-linux-x64-gnu is version 1.2.2, and tapferry is 1.2.3')
  t.regex(hint ?? '', /npm install @tapferry\/binding-linux-x64-gnu@1\.2\.3$/)
})

test('an addon for a newer glibc is explained', t => {
  const { code, message, hint } = addonBroken('/x.node', new Error("version `GLIBC_2.99' not found\nmore"))
  t.is(code, 'ADDON_BROKEN')
  t.is(
    message,
    `the native addon /x.node does not load on ${platformTriple()}: version \`GLIBC_2.99' not found`,
  )
  t.regex(hint ?? '', /^this system is older than the one that it was built for/)
})

# Read by node-gyp; CMakeLists.txt is the same build for cmake-js. `node native/build.mjs` runs either.
{
  'targets': [
    {
      'target_name': 'intel_svm',
      'sources': [
        '<!@(node -p "require(\'fs\').readFileSync(\'native/sources.txt\', \'utf8\')")',
      ],
      'include_dirs': [
        '<!(node -p "require(\'node-addon-api\').include_dir")',
      ],
      'defines': [
        # The building Node's own Node-API would be newer, and its addon would crash in older Nodes.
        'NAPI_VERSION=8',
        'NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS',
        # A thread that still calls in while its worker is terminated must not abort the process.
        'NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
        'INTEL_SVM_VERSION="<!(node -p "require(\'./package.json\').version")"',
      ],
      'cflags': ['-Wall', '-Wextra', '-Wpedantic', '-fvisibility=hidden'],
      'cflags_c': ['-std=c11'],
      'cflags_cc': ['-std=c++17', '-fvisibility-inlines-hidden'],
      # A symbol that no source defines fails the load, not the first call.
      'ldflags': ['-Wl,-z,now'],
    },
  ],
}

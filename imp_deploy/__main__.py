from imp_deploy.cli.main import main

if __name__ == "__main__":
    main()
